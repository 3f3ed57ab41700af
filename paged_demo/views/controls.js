// Native controls, the picture that follows them, and one line that says what is being waited for.
const WAIT_MS = 300;
const CHUNK_BYTES = 4096;  // each is an argument of one call, which takes some ten thousands at most
const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -Infinity, End: Infinity };
const TENTHS = { PageUp: 1, PageDown: -1 };

const element = (name, parent, properties = {}) =>
  parent.appendChild(Object.assign(document.createElement(name), properties));

// What may pass to the notebook: its shortcuts with Ctrl, Alt or Meta, Shift+Enter, and Escape.
const passes = event => event.ctrlKey || event.metaKey || event.altKey
  || event.key === 'Escape' || (event.key === 'Enter' && event.shiftKey);

// At once: what reads a Blob for this comes back some 12 ms later.
function urlOf(png) {
  const bytes = new Uint8Array(png.buffer, png.byteOffset, png.byteLength);
  const texts = [];
  for (let start = 0; start < bytes.length; start += CHUNK_BYTES) {
    texts.push(String.fromCharCode.apply(null, bytes.subarray(start, start + CHUNK_BYTES)));
  }
  return `data:image/png;base64,${btoa(texts.join(''))}`;
}

function render({ model, el }) {
  // Ids are those of the whole page, and this script is loaded anew for every picture.
  const prefix = `paged-demo-${Math.random().toString(36).slice(2)}-`;
  const root = element('div', el, { className: 'paged-demo-explorer' });
  const rows = element('div', root);
  const picture = element('img', root, { width: model.get('width_px'), height: model.get('height_px') });
  const caption = element('details', root, { className: 'paged-demo-words' });
  const takeaway = element('span', element('summary', caption), { role: 'status' });
  const folded = element('span', caption);
  const state = element('p', root, { role: 'status', className: 'paged-demo-state' });
  const items = new Map();  // what shows a value, by key
  let chosen = {};  // what was chosen here, and has not been sent
  let underway = {};  // what was sent, and has not been answered
  let pressed = [];  // buttons, whose clicks are all sent
  let isWaiting = false;
  let isGone = false;  // the kernel, and with it whoever would answer
  let isNarrow = model.get('is_narrow');
  let isResized = false;  // so far that another picture fits, and this has not been sent
  let timer;
  let timerOfRest;

  const say = words => { if (!isGone) state.textContent = words; };
  const showBusy = () => picture.setAttribute('aria-busy', !isGone && (isWaiting || !model.get('is_whole')));

  function send() {
    if (isGone || isWaiting || !(pressed.length || Object.keys(chosen).length || isResized)) return;
    isWaiting = true;
    showBusy();
    clearTimeout(timer);
    timer = setTimeout(() => say('Waiting for the kernel.'), WAIT_MS);
    [underway, chosen, isResized] = [chosen, {}, false];
    try {
      model.send({ values: underway, press: pressed.shift() ?? null, is_narrow: isNarrow });
    } catch {
      disconnect();  // This view was made after the kernel had gone.
    }
  }

  function choose(key, value) {
    chosen[key] = value;
    showValues();
    send();
  }

  function press(key) {
    pressed.push(key);
    send();
  }

  const make = {
    range(item, box) {
      const label = element('label', box, { htmlFor: prefix + item.key, textContent: item.label });
      const input = element('input', box, { id: label.htmlFor, type: 'range', min: 0, step: 1 });
      const output = element('output', box, { htmlFor: input.id });
      output.setAttribute('aria-live', 'off');  // the slider itself tells its value
      // By hand, so that the keys do the same in every browser.
      input.addEventListener('keydown', event => {
        const tenth = Math.max(1, Math.round(input.max / 10));
        const by = STEPS[event.key] ?? (TENTHS[event.key] ?? 0) * tenth;
        if (!by || passes(event)) return;
        event.preventDefault();
        const position = Math.min(Math.max(+input.value + by, 0), +input.max);
        if (position !== +input.value) choose(item.key, position);
      });
      input.addEventListener('input', () => choose(item.key, +input.value));
      input.addEventListener('pointerdown', () => input.focus());
      return (position, { count, first, texts }) => {
        input.max = count - 1;
        input.value = position;  // Of fewer options than there were it takes the last.
        output.value = texts ? texts[input.value] : first + +input.value;
        input.setAttribute('aria-valuetext', output.value);
      };
    },

    select(item, box) {
      const label = element('label', box, { htmlFor: prefix + item.key, textContent: item.label });
      const select = element('select', box, { id: label.htmlFor });
      item.texts.forEach(words => element('option', select, { textContent: words }));
      select.addEventListener('change', () => choose(item.key, select.selectedIndex));
      return position => { select.selectedIndex = position; };
    },

    text(item, box) {
      const label = element('label', box, { htmlFor: prefix + item.key, textContent: item.label });
      const input = element('input', box, { id: label.htmlFor, type: 'text' });
      input.addEventListener('input', () => { chosen[item.key] = input.value; });
      input.addEventListener('keydown', event => {
        if (event.key === 'Enter' && !passes(event)) press(item.enter);
      });
      return words => { if (input.value !== words) input.value = words; };
    },

    // A button that moves a slider. At an end it stays where the keyboard is, and does nothing.
    step(item, box) {
      const button = element('button', box, { type: 'button', textContent: item.label });
      const slider = () => root.querySelector(`[id="${prefix}${item.of}"]`);
      const isAtEnd = () => +slider().value === (item.by < 0 ? 0 : +slider().max);
      button.addEventListener('click', () => {
        if (!isAtEnd()) choose(item.of, +slider().value + item.by);
      });
      return () => button.setAttribute('aria-disabled', isAtEnd());
    },

    press(item, box) {
      const button = element('button', box, { type: 'button', textContent: item.label });
      button.addEventListener('click', () => {
        if (button.getAttribute('aria-disabled') === 'false') press(item.key);
      });
      return isEnabled => button.setAttribute('aria-disabled', !isEnabled);
    },

    line(item, box) {
      const output = element('span', box, { role: 'status' });
      return words => { output.textContent = words; };
    },
  };

  function showValues() {
    const values = { ...model.get('values'), ...underway, ...chosen };
    for (const item of model.get('rows').flat()) items.get(item.key)(values[item.key], item);
  }

  function showPicture() {
    const [words, numShown] = [model.get('words'), model.get('num_shown')];
    picture.width = model.get('width_px');
    picture.height = model.get('height_px');
    picture.src = urlOf(model.get('png'));
    picture.alt = words;
    takeaway.textContent = `In words: ${words.slice(0, numShown)}`;
    folded.textContent = words.slice(numShown);
    caption.dataset.isWhole = numShown === words.length;
  }

  function showWhetherWhole() {
    clearTimeout(timerOfRest);
    say('');
    if (!model.get('is_whole')) timerOfRest = setTimeout(() => say('The rest of the picture follows.'), WAIT_MS);
    showBusy();
  }

  function hear({ error }) {
    clearTimeout(timer);
    isWaiting = false;
    underway = {};
    showWhetherWhole();
    if (error) say(error);
    showValues();
    send();
  }

  // Where there is too little width for its text a picture is drawn anew. Only who changes the width asks for
  // it: this picture may be shown in several places, narrow ones and wide ones.
  const resized = new ResizeObserver(() => {
    const isNow = root.clientWidth < model.get('narrow_px');
    if (!root.clientWidth || isNow === isNarrow) return;
    [isNarrow, isResized] = [isNow, true];
    send();
  });

  function disconnect() {
    say('The kernel of this picture is gone. Run the cells again, from the first.');
    isGone = true;
    showBusy();
  }

  // Notebook 7 takes its shortcuts before this element hears of a key, and heeds a mark on the target only.
  function mark(event) {
    if (!root.contains(event.target)) return;
    if (passes(event)) delete event.target.dataset.lmSuppressShortcuts;
    else event.target.dataset.lmSuppressShortcuts = 'true';
  }

  root.addEventListener('keydown', event => { if (!passes(event)) event.stopPropagation(); });
  window.addEventListener('keydown', mark, true);
  for (const row of model.get('rows')) {
    const box = element('div', rows, { className: 'paged-demo-row' });
    for (const item of row) items.set(item.key, make[item.kind](item, box));
  }
  model.on('change:rows', showValues);
  model.on('change:values', showValues);
  model.on('change:number', showPicture);
  model.on('change:is_whole', showWhetherWhole);
  model.on('msg:custom', hear);
  model.on('comm_live_update', disconnect);
  showValues();
  showPicture();
  showBusy();
  resized.observe(root);
  return () => {
    resized.disconnect();
    window.removeEventListener('keydown', mark, true);
    model.off('change:rows', showValues);
    model.off('change:values', showValues);
    model.off('change:number', showPicture);
    model.off('change:is_whole', showWhetherWhole);
    model.off('msg:custom', hear);
    model.off('comm_live_update', disconnect);
  };
}

export default { render };
