-- Why polling of the message ended without a final state: the reason in its event message.gave_up.
ALTER TABLE messages ADD COLUMN gave_up_for TEXT;
-- When it was taken up again because the gateway was found to refuse everything: that happens once.
ALTER TABLE messages ADD COLUMN resumed_at REAL;

-- Which refusal began the hold for `refusing`, as in messages.last_answer.
ALTER TABLE accounts ADD COLUMN refusal TEXT NOT NULL DEFAULT '';
