'use strict';
(() => {
  const metrics = JSON.parse(document.getElementById('metrics').textContent);
  const runs = metrics.runs;
  const charts = [];
  const dash = [6, 4];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const normName = (on) => (on ? 'with batch norm' : 'without batch norm');
  const normColor = (on) => css(on ? 'with' : 'without');
  const ramp = (i, n) => css('s' + (n === 1 ? 2 : Math.min(5, Math.floor((i * 5) / (n - 1)))));
  const pale = (color, alpha) => color + Math.round(alpha * 255).toString(16).padStart(2, '0');
  /** Mixed with the panel's color: grid lines do not shine through. */
  const mixed = (color, part) => '#' + [1, 3, 5].map((i) => {
    const [a, b] = [color, css('panel')].map((c) => parseInt(c.slice(i, i + 2), 16));
    return Math.round(b + (a - b) * part).toString(16).padStart(2, '0');
  }).join('');
  const distinct = (of) => [...new Set(runs.map(of))];
  const ascending = (values) => values.sort((a, b) => a - b);
  const percent = (v) => (v === null || v === undefined ? null : 100 * v);
  const points = (xs, ys, by = (y) => y) => xs.map((x, i) => ({ x, y: by(ys[i]) }));
  const superscript = (n) => String(n).replace(/./g, (c) => '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'['-0123456789'.indexOf(c)]);
  const isDecade = (v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9;
  const logLabel = (v) =>
    (isDecade(v) && (v < 1 || v > 1e6) ? '10' + superscript(Math.round(Math.log10(v))) : v.toLocaleString('en-US'));
  /** Keeps whole decades, thinned to at most eight; or 1, 2 and 5 where there is hardly one. */
  const logTicks = (scale) => {
    const decades = scale.ticks.filter((t) => isDecade(t.value));
    const every = Math.ceil(decades.length / 8);
    scale.ticks = decades.length > 1
      ? decades.filter((t) => Math.round(Math.log10(t.value)) % every === 0)
      : scale.ticks.filter((t) => [1, 2, 5].includes(Math.round(t.value / 10 ** Math.floor(Math.log10(t.value) + 1e-9))));
  };
  const range = (values) => {
    const finite = values.filter((v) => typeof v === 'number');
    if (!finite.length) return {};
    const low = Math.min(...finite), high = Math.max(...finite);
    const margin = 0.05 * (high - low || 1);
    return { min: low - margin, max: high + margin };
  };
  const leastPercent = (list) => {
    const finite = list.filter((v) => typeof v === 'number');
    const low = finite.length ? Math.min(...finite) : 0;
    const step = low < 50 ? 20 : 10;
    return Math.max(0, Math.min(90, Math.floor(low / step) * step));
  };

  /** A figure with its caption and an empty canvas, added to `parent`. */
  function figure(parent, size, title, subtitle, label) {
    const element = document.createElement('figure');
    element.className = size;
    const head = document.createElement('header');
    const caption = document.createElement('figcaption');
    caption.textContent = title;
    if (subtitle) {
      const small = document.createElement('small');
      small.textContent = subtitle;
      caption.append(small);
    }
    head.append(caption);
    const box = document.createElement('div');
    box.className = 'canvas';
    const canvas = document.createElement('canvas');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', label || title + (subtitle ? '. ' + subtitle : ''));
    canvas.textContent = 'The numbers of this chart are in the tables below.';
    box.append(canvas);
    element.append(head, box);
    parent.append(element);
    return { head, box, canvas };
  }

  /** Draws a chart now, and again when the color scheme changes. */
  function draw(canvas, config) {
    const entry = { canvas, config, chart: null };
    charts.push(entry);
    render(entry);
    return entry;
  }

  function render(entry) {
    if (entry.chart) entry.chart.destroy();
    Chart.defaults.color = css('muted');
    Chart.defaults.borderColor = css('line');
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.font.size = 13;
    entry.chart = new Chart(entry.canvas, entry.config());
  }

  const axis = (title, more = {}) => ({
    title: { display: true, text: title, color: css('ink') },
    grid: { drawOnChartArea: false, ...more.grid },
    ...more,
    ticks: { maxRotation: 0, autoSkipPadding: 16, ...more.ticks },
  });
  const across = { drawOnChartArea: true, drawTicks: false };
  const percentAxis = (min) => axis('test accuracy (%)', {
    min,
    max: 100,
    grid: across,
    ticks: { autoSkip: false, stepSize: min < 50 ? 20 : min < 90 ? 10 : 2 },
  });
  const logAxis = (title, more = {}) =>
    axis(title, { type: 'logarithmic', afterBuildTicks: logTicks, ...more, ticks: { callback: logLabel, autoSkip: false } });

  /** Legend entries as the lines are, dashes included, which Chart.js leaves out. */
  const lineLabels = (chart) => chart.data.datasets.map((d, i) => ({
    text: d.label,
    datasetIndex: i,
    hidden: !chart.isDatasetVisible(i),
    pointStyle: 'line',
    strokeStyle: d.borderColor,
    lineWidth: d.borderWidth,
    lineDash: d.borderDash,
    fontColor: css('ink'),
  }));

  function lines(datasets, x, y, legend = {}) {
    return {
      type: 'line',
      data: { datasets },
      options: {
        animation: false,
        maintainAspectRatio: false,
        interaction: { mode: 'nearest', axis: 'x', intersect: false },
        scales: { x, y },
        plugins: {
          legend: {
            position: 'bottom',
            align: 'start',
            labels: { usePointStyle: true, pointStyleWidth: 28, padding: 14, generateLabels: lineLabels, ...legend },
          },
          tooltip: { callbacks: { label: (c) => ` ${c.dataset.label}: ${+c.parsed.y.toPrecision(4)}` } },
        },
      },
    };
  }

  const line = (label, color, dashed, data, more = {}) => ({
    label,
    data,
    borderColor: color,
    backgroundColor: color,
    borderWidth: 2,
    borderDash: dashed ? dash : [],
    pointRadius: data.filter((p) => p.y !== null).length === 1 ? 3 : 0,
    pointHitRadius: 8,
    pointHoverRadius: 4,
    ...more,
  });
  const dots = (dashed) => ({ clip: 8, pointRadius: 4, pointBorderWidth: 1.5, pointBackgroundColor: dashed ? css('panel') : undefined });

  /** Accuracy against steps, with a switch between a linear and a logarithmic step axis. */
  function accuracyBySteps(parent, size, title, subtitle, datasets) {
    const { head, canvas } = figure(parent, size, title, subtitle,
      title + ' in percent against training steps, one curve for each run');
    const fields = document.createElement('fieldset');
    const legend = document.createElement('legend');
    legend.textContent = 'Step axis';
    fields.append(legend);
    let scale = 'linear';
    const entry = draw(canvas, () => {
      const list = datasets();
      const all = list.flatMap((d) => d.data.map((p) => p.y));
      const log = scale === 'logarithmic';
      // Step 0 has no logarithm.
      if (log) for (const d of list) d.data = d.data.filter((p) => p.x > 0);
      return lines(list,
        log ? logAxis('training steps') : axis('training steps', { type: 'linear', min: 0 }),
        percentAxis(leastPercent(all)));
    });
    for (const name of ['linear', 'logarithmic']) {
      const label = document.createElement('label');
      const radio = document.createElement('input');
      radio.type = 'radio';
      radio.name = 'step-axis';
      radio.value = name;
      radio.checked = name === scale;
      radio.addEventListener('change', () => { scale = name; render(entry); });
      label.append(radio, name);
      fields.append(label);
    }
    head.append(fields);
  }

  function figure1(parent) {
    accuracyBySteps(parent, 'full', 'Test accuracy', 'inference by moving averages; dashed: by population statistics', () =>
      runs.flatMap((r) => {
        const color = normColor(r.batchNorm);
        const set = [line(r.name, color, false, points(r.steps, r.testAccuracy, percent))];
        if (r.testAccuracyPopulation) {
          set.push(line(r.name + ', population', css('ink'), true,
            points(r.steps, r.testAccuracyPopulation, percent), { borderWidth: 1.5 }));
        }
        return set;
      }));
    const inputs = runs.filter((r) => r.percentiles).sort((a, b) => a.batchNorm - b.batchNorm);
    const shared = range(inputs.flatMap((r) => [...r.percentiles.p15, ...r.percentiles.p50, ...r.percentiles.p85]));
    const last = Math.max(1, ...inputs.flatMap((r) => r.steps));
    for (const r of inputs) {
      const p = r.percentiles;
      const { canvas } = figure(parent, inputs.length > 1 ? 'half' : 'full', `Sigmoid input, ${r.name}`,
        `15th, 50th and 85th percentile of unit ${p.unit} of hidden layer ${p.layer}`);
      draw(canvas, () => {
        const color = normColor(r.batchNorm);
        const thin = { borderWidth: 1, backgroundColor: pale(color, 0.2) };
        return lines([
          line('85th percentile', color, false, points(r.steps, p.p85), { ...thin, fill: 2 }),
          line('median', color, false, points(r.steps, p.p50)),
          line('15th percentile', color, false, points(r.steps, p.p15), thin),
        ], axis('training steps', { type: 'linear', min: 0, max: last }),
          axis('input of the sigmoid', { ...shared, grid: across, ticks: { includeBounds: false } }));
      });
    }
  }

  function learningRate(parent) {
    const rates = ascending(distinct((r) => r.learningRate));
    const color = (r) => ramp(rates.indexOf(r.learningRate), rates.length);
    accuracyBySteps(parent, 'wide', 'Test accuracy', 'color: learning rate; dashed: without batch norm', () =>
      runs.map((r) => line(r.name, color(r), !r.batchNorm, points(r.steps, r.testAccuracy, percent))));
    const { canvas } = figure(parent, 'narrow', 'Final test accuracy', 'solid: with batch norm; pale: without');
    draw(canvas, () => ({
      type: 'bar',
      data: {
        labels: rates.map((rate) => `${rate} (×${+(rate / metrics.settings.learningRate).toPrecision(3)})`),
        datasets: [true, false].map((on) => {
          const of = rates.map((rate) => runs.find((r) => r.batchNorm === on && r.learningRate === rate));
          return {
            label: normName(on),
            data: of.map((r) => (r ? percent(r.finalAccuracy) ?? 0 : null)),
            texts: of.map((r) => (!r ? '' : r.diverged ? 'diverged' : percent(r.finalAccuracy)?.toFixed(1) ?? '–')),
            backgroundColor: of.map((r) => (r ? (on ? color(r) : mixed(color(r), 0.4)) : 'transparent')),
            categoryPercentage: 0.82,
            barPercentage: 0.94,
          };
        }),
      },
      plugins: [barTexts],
      options: {
        animation: false,
        maintainAspectRatio: false,
        layout: { padding: { top: 18 } },
        scales: { x: axis('learning rate'), y: percentAxis(0) },
        plugins: { legend: { display: false } },
      },
    }));
  }

  /** Writes the value above each bar, or why there is none. */
  const barTexts = {
    id: 'barTexts',
    afterDatasetsDraw(chart) {
      const { ctx } = chart;
      ctx.save();
      ctx.fillStyle = css('ink');
      ctx.textAlign = 'center';
      chart.data.datasets.forEach((set, i) => chart.getDatasetMeta(i).data.forEach((bar, k) => {
        const text = set.texts[k];
        const tight = ctx.measureText(text).width > bar.width * 1.15;
        ctx.font = `${tight ? 10 : 12}px ${Chart.defaults.font.family}`;
        ctx.fillText(text, bar.x, bar.y - 5);
      }));
      ctx.restore();
    },
  };

  const finalBy = (list, x) => [true, false].flatMap((on) => {
    const of = list.filter((r) => r.batchNorm === on).sort((a, b) => x(a) - x(b));
    return of.length
      ? [line(normName(on), normColor(on), !on, of.map((r) => ({ x: x(r), y: percent(r.finalAccuracy) })), dots(!on))]
      : [];
  });

  function initialization(parent) {
    const { canvas } = figure(parent, 'full', 'Final test accuracy', 'against the standard deviation of the initial weights');
    draw(canvas, () => {
      const sets = finalBy(runs, (r) => r.sigma);
      return lines(sets, logAxis('σ of the initial weights'),
        percentAxis(leastPercent(sets.flatMap((d) => d.data.map((p) => p.y)))));
    });
  }

  function saturation(parent) {
    const depths = ascending(distinct((r) => r.depth));
    const norms = runs.flatMap((r) => (r.gradientNorms ? r.gradientNorms.values : [])).filter((v) => v > 0);
    const bounds = norms.length
      ? { min: 10 ** Math.floor(Math.log10(Math.min(...norms))), max: 10 ** Math.ceil(Math.log10(Math.max(...norms))) }
      : {};
    const least = leastPercent(runs.map((r) => percent(r.finalAccuracy)));
    for (const activation of distinct((r) => r.activation)) {
      const { canvas } = figure(parent, 'third', `${activation}: gradient by layer`, 'norm of the weight gradient; dashed: without batch norm');
      const of = runs.filter((r) => r.activation === activation);
      const most = Math.max(1, ...of.map((r) => (r.gradientNorms ? r.gradientNorms.values.length : 1)));
      draw(canvas, () => lines(
        of.filter((r) => r.gradientNorms).map((r) => line(
          `${r.depth} hidden layers` + (r.batchNorm ? '' : ', without'),
          ramp(depths.indexOf(r.depth), depths.length), !r.batchNorm,
          r.gradientNorms.values.map((v, i) => ({ x: i + 1, y: v > 0 ? v : null })), { ...dots(!r.batchNorm), pointRadius: 3 })),
        axis('layer', { type: 'linear', min: 0.7, max: most + 0.3, ticks: { stepSize: 1, includeBounds: false } }),
        logAxis('gradient norm', { ...bounds, grid: across }),
        { filter: (item) => !item.text.endsWith(', without') }));
    }
    for (const activation of distinct((r) => r.activation)) {
      const { canvas } = figure(parent, 'third', `${activation}: final test accuracy`, 'against the number of hidden layers');
      draw(canvas, () => lines(finalBy(runs.filter((r) => r.activation === activation), (r) => r.depth),
        axis('hidden layers', { type: 'linear', min: depths[0] - 0.3, max: depths[depths.length - 1] + 0.3,
          ticks: { stepSize: 1, includeBounds: false } }),
        percentAxis(least)));
    }
  }

  function speed(parent) {
    const timed = metrics.times.runs.filter((r) => r.share);
    if (!timed.length) return;
    const kinds = [...new Set(timed.flatMap((r) => Object.keys(r.share)))];
    const names = { gemm: 'GEMM', batchNorm: 'batch norm' };
    const { canvas, box } = figure(parent, 'full', 'Where the time of a step goes', 'share of the training step in percent');
    box.style.height = `${120 + 44 * timed.length}px`;
    draw(canvas, () => ({
      type: 'bar',
      data: {
        labels: timed.map((r) => r.name),
        datasets: kinds.map((kind, i) => ({
          label: names[kind] || kind,
          data: timed.map((r) => percent(r.share[kind])),
          backgroundColor: css('k' + (i % 6)),
          borderColor: css('panel'),
          borderWidth: { right: 1 },
          maxBarThickness: 30,
        })),
      },
      options: {
        indexAxis: 'y',
        animation: false,
        maintainAspectRatio: false,
        scales: {
          x: axis('share of a step (%)', { stacked: true, min: 0, max: 100 }),
          y: { stacked: true, grid: { display: false }, ticks: { color: css('ink') } },
        },
        plugins: {
          legend: { position: 'bottom', align: 'start', labels: { boxWidth: 12, boxHeight: 12 } },
          tooltip: { callbacks: { label: (c) => ` ${c.dataset.label}: ${c.parsed.x.toFixed(1)} %` } },
        },
      },
    }));
  }

  try {
    const parent = document.getElementById('charts');
    ({ figure1, 'learning-rate': learningRate, initialization, saturation })[metrics.experiment](parent);
    speed(document.getElementById('speed-chart'));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => charts.forEach(render));
    document.documentElement.dataset.charts = charts.length;
  } catch (error) {
    const failure = document.getElementById('failure');
    failure.hidden = false;
    failure.textContent = `The charts could not be drawn: ${error.message}`;
    throw error;
  }
})();
