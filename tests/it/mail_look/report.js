// Runs around the mail, never in it: measures the frame's document and leaves a report on our own root element.
addEventListener('load', () => {
  const frame = document.querySelector('iframe');
  const page = frame.contentDocument;
  const style = (element) => frame.contentWindow.getComputedStyle(element);
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  // WCAG 2.2, relative luminance and contrast ratio.
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = style(at).backgroundColor;
      const alpha = channels(color)[3];
      if (alpha === undefined || alpha === 1) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const report = {
    width: frame.clientWidth, scroll_width: page.documentElement.scrollWidth,
    height: page.documentElement.offsetHeight, contrast: 21, faintest: '', smallest_text: 1000, elements: [],
  };
  for (const element of page.querySelectorAll('*')) {
    const attributes = [...element.attributes].map((a) => ` ${a.name}=${a.value}`).join('');
    report.elements.push(element.localName + attributes);
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join('').trim();
    if (!text || !element.getClientRects().length) continue;
    const [a, b] = [luminance(style(element).color), luminance(behind(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < report.contrast) Object.assign(report, {contrast, faintest: text.slice(0, 60)});
    report.smallest_text = Math.min(report.smallest_text, parseFloat(style(element).fontSize));
  }
  const bytes = new TextEncoder().encode(JSON.stringify(report));
  document.documentElement.dataset.report = btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(''));
});
