/** A strip of bars, one for each row of a history: height and shade are the weight. */

const HEIGHT = 26;
const drawn = new Set();

export class Strip {
  /** `weights`: oldest first; `chosen` is called with the row that is pointed at. */
  constructor(canvas, weights, chosen) {
    Object.assign(this, { canvas, weights, at: -1, most: Math.max(...weights, 1e-9) });
    canvas.addEventListener("pointermove", (event) => event.buttons && chosen(this.row(event)));
    canvas.addEventListener("pointerdown", (event) => chosen(this.row(event)));
    drawn.add(this);
  }

  row(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    const at = Math.floor(((event.clientX - left) / width) * this.weights.length);
    return Math.max(0, Math.min(this.weights.length - 1, at));
  }

  mark(at) {
    this.at = at;
    this.draw();
  }

  draw() {
    const { canvas, weights } = this;
    if (!canvas.isConnected) return;
    const dots = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    canvas.width = width * dots;
    canvas.height = HEIGHT * dots;
    const pen = canvas.getContext("2d");
    pen.scale(dots, dots);
    const style = getComputedStyle(canvas);
    const each = width / weights.length;
    const ink = style.getPropertyValue("--ink-strip");
    if (this.at >= 0) {
      pen.fillStyle = style.getPropertyValue("--mark");
      pen.fillRect(this.at * each, 0, Math.max(each, 2), HEIGHT);
    }
    pen.fillStyle = ink;
    weights.forEach((weight, i) => {
      const share = weight / this.most;
      pen.globalAlpha = 0.35 + 0.65 * share;
      const height = Math.max(share * (HEIGHT - 2), 0.5);
      pen.fillRect(i * each, HEIGHT - height, Math.max(each - (each > 3 ? 1 : 0), 0.5), height);
    });
    pen.globalAlpha = 1;
    pen.fillRect(0, HEIGHT - 0.5, width, 0.5);
  }
}

function again() {
  for (const strip of drawn) {
    if (strip.canvas.isConnected) strip.draw();
    else drawn.delete(strip);
  }
}
window.addEventListener("resize", again);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
