"use strict";
// Brings the main part of the page up to date in place. Without this script the page loads itself anew.
(function () {
  const main = document.querySelector("main[data-live]");
  const age = document.getElementById("age");
  if (!main) return;
  const every = 2000;
  let last = Date.now();

  function told() {
    const seconds = Math.round((Date.now() - last) / 1000);
    age.textContent = seconds < 10
      ? "Kept up to date."
      : "The daemon does not answer; as seen " + seconds + " s ago.";
    age.className = seconds < 10 ? "dim" : "bad";
  }

  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(main.dataset.live, { cache: "no-store" });
        if (answer.ok) {
          const text = await answer.text();
          // Who reads the figures or marks text is not disturbed.
          const open = main.querySelector("details[open]") !== null;
          if (window.getSelection().isCollapsed && !open) main.innerHTML = text;
          last = Date.now();
        }
      } catch (error) {
        // Told below.
      }
      told();
    }
    window.setTimeout(look, every);
  }

  document.addEventListener("visibilitychange", told);
  window.setTimeout(look, every);
  told();
})();
