(() => {
  const words = [...document.querySelectorAll("button[data-word]")];
  const maps = [...document.querySelectorAll("img[data-map]")];
  const said = document.querySelector(".said");
  let kept = null;
  const show = (button) => {
    const word = button === null ? null : button.dataset.word;
    for (const map of maps) map.hidden = map.dataset.map !== word;
    for (const b of words) b.classList.toggle("shown", b === button);
    said.textContent = button === null ? said.dataset.empty : button.dataset.said;
  };
  const keep = (button) => {
    kept = button;
    for (const b of words) b.setAttribute("aria-pressed", String(b === kept));
    show(kept);
  };
  words.forEach((button, i) => {
    button.addEventListener("click", () => keep(kept === button ? null : button));
    button.addEventListener("pointerenter", (e) => { if (e.pointerType === "mouse") show(button); });
    button.addEventListener("pointerleave", (e) => { if (e.pointerType === "mouse") show(kept); });
    button.addEventListener("focus", () => { if (button.matches(":focus-visible")) show(button); });
    button.addEventListener("blur", () => show(kept));
    button.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
      if (step !== undefined && words[i + step] !== undefined) words[i + step].focus();
      if (e.key === "Escape") keep(null);
    });
  });
})();
