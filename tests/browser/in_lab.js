// Helpers for the tests, loaded into the page of JupyterLab. An explorer is a cell's box of controls with a
// picture below; `timed` waits for the first new picture after a key press.
window.inLab = {
  messages: [],
  numMessages: 0,

  notebook: () => jupyterapp.shell.currentWidget,

  isIdle() {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    return kernel?.status === 'idle';
  },

  // What a callback raises reaches no cell: it comes as a message only.
  listen() {
    inLab.notebook().sessionContext.iopubMessage.connect((_, { header, content }) => {
      inLab.numMessages += 1;
      if (header.msg_type === 'error') inLab.messages.push(content.traceback.join('\n'));
    });
  },

  runAll() {
    inLab.ran = undefined;
    jupyterapp.commands.execute('notebook:run-all-cells').then(
      () => { inLab.ran = 'done'; },
      error => { inLab.ran = `failed: ${error}`; },
    );
  },

  runCell(index) {
    inLab.notebook().content.activeCellIndex = index;
    jupyterapp.commands.execute('notebook:run-cell');
  },

  save: () => jupyterapp.commands.execute('docmanager:save'),

  // Cells that hold widgets and a picture, by id.
  cellsWithExplorers: () => inLab.codeCells()
    .filter(cell => cell.model.outputs.toJSON().some(({ data }) =>
      data?.['application/vnd.jupyter.widget-view+json'] && data['image/png']))
    .map(cell => cell.model.id),

  codeCells: () => inLab.notebook().content.widgets.filter(cell => cell.model.type === 'code'),

  problems: () => inLab.codeCells().flatMap(cell => [
    ...cell.model.outputs.toJSON().filter(output => output.output_type === 'error')
      .map(output => `cell ${cell.model.id}: ${output.traceback.join('\n')}`),
    ...(cell.model.executionCount || !cell.model.sharedModel.getSource().trim()
      ? [] : [`cell ${cell.model.id} was not run`]),
  ]),

  async bringIntoView(id) {
    const { content } = inLab.notebook();
    const index = content.widgets.findIndex(cell => cell.model.id === id);
    content.activeCellIndex = index;
    content.widgets[index].node.dataset.id = id;
    await content.scrollToItem(index, 'start');
  },

  picture: box => box.querySelector('img'),

  // Whether what was asked for is there, whole, and nothing that the page's width asks for is on its way.
  async settled(box) {
    for (let calm = 0; calm < 3;) {
      await new Promise(requestAnimationFrame);
      calm = inLab.picture(box)?.getAttribute('aria-busy') === 'true' ? 0 : calm + 1;
    }
  },

  words: box => box.querySelector('.paged-demo-words').textContent,

  // A control of ours, or the slider of `interact`.
  tell(handle) {
    if (handle.matches('.noUi-handle')) {
      const [value, ...ends] = ['now', 'min', 'max'].map(name => +handle.getAttribute(`aria-value${name}`));
      const whole = handle.closest('.widget-inline-hbox');
      const [name, readout] = ['label', 'readout'].map(part => whole.querySelector(`.widget-${part}`).innerText);
      return { name, value, ends, readout };
    }
    const name = handle.labels[0].innerText;
    if (handle.matches('select')) {
      const [value, ends] = [handle.selectedIndex, [0, handle.length - 1]];
      return { name, value, ends, readout: handle.selectedOptions[0].text };
    }
    const readout = handle.getAttribute('aria-valuetext');
    return { name, value: +handle.value, ends: [+handle.min, +handle.max], readout };
  },

  looks: picture => `${picture?.alt}|${picture?.src}`,

  watch(box) {
    const before = inLab.looks(inLab.picture(box));
    let pressed;
    addEventListener('keydown', () => { pressed = performance.now(); }, { capture: true, once: true });
    inLab.timed = new Promise(resolve => {
      const observer = new MutationObserver(async () => {
        const picture = inLab.picture(box);
        if (!picture?.src || inLab.looks(picture) === before) return;
        await picture.decode().catch(() => {});
        observer.disconnect();
        resolve(performance.now() - pressed);
      });
      observer.observe(box, { subtree: true, childList: true, attributes: true });
    });
  },

  // Milliseconds from the key to the picture; fails with what was raised instead, or after so many seconds.
  newPicture: seconds => Promise.race([inLab.timed, new Promise((_, fail) => {
    const start = performance.now();
    let isThere = false;
    inLab.timed.then(() => { isThere = true; });
    const look = () => {
      if (isThere) return;
      if (inLab.messages.length) fail(new Error(inLab.messages[0]));
      if (performance.now() - start > 1000 * seconds) fail(new Error('there is no new picture'));
      setTimeout(look, 200);
    };
    look();
  })]),

  // Where the picture lies in its box, in every frame that the browser shows.
  followPlace(box) {
    const places = { running: true, seen: new Set() };
    inLab.places = places;
    const look = () => {
      if (!places.running) return;
      const picture = inLab.picture(box);
      if (picture?.isConnected) {
        const [outer, inner] = [box.getBoundingClientRect(), picture.getBoundingClientRect()];
        places.seen.add(JSON.stringify([inner.left - outer.left, inner.top - outer.top, inner.width,
          inner.height].map(Math.round)));
      }
      requestAnimationFrame(look);
    };
    look();
  },

  placesSeen() {
    inLab.places.running = false;
    return [...inLab.places.seen];
  },

  async corners(picture) {
    await picture.decode();
    const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
    const context = canvas.getContext('2d');
    context.drawImage(picture, 0, 0);
    const [right, bottom] = [canvas.width - 1, canvas.height - 1];
    return [[0, 0], [right, 0], [0, bottom], [right, bottom]]
      .map(([x, y]) => [...context.getImageData(x, y, 1, 1).data]);
  },

  // The contrast ratio of WCAG 2 of every text in the box with what lies behind it.
  contrasts(box) {
    const parse = colour => {
      const numbers = colour.match(/[\d.]+/g).map(Number);
      return { rgb: numbers.slice(0, 3), alpha: numbers[3] ?? 1 };
    };
    const over = (front, rgb) => front.rgb.map((v, i) => front.alpha * v + (1 - front.alpha) * rgb[i]);
    const behind = element => {
      const layers = [];
      for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
      return layers.reduce((rgb, layer) => over(layer, rgb), [255, 255, 255]);
    };
    const luminance = rgb => rgb.map(v => v / 255)
      .map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    return [...box.querySelectorAll('label, output, button, input[type=text], select, [role=status]')]
      .map(e => [(e.value || e.textContent).trim(), e])
      .filter(([text]) => text)
      .map(([text, e]) => {
        const back = behind(e);
        const [dark, light] = [back, over(parse(getComputedStyle(e).color), back)].map(luminance)
          .sort((one, other) => one - other);
        return [text, (light + 0.05) / (dark + 0.05)];
      });
  },

  // Parts of the box that reach over the right edge of the window, and values and names that are cut off.
  tooWide: box => [...box.querySelectorAll('*')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1
      || (e.matches('output, label') && e.scrollWidth > e.clientWidth + 1))
    .map(e => `${e.className || e.tagName}: ${e.textContent}`),
};
