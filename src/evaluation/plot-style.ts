/** @file The look of plots: one set of colours for light pages and one for dark ones. */

export type Theme = 'light' | 'dark';

interface Colors {
  surface: string;
  ink: string;
  muted: string;
  grid: string;
  axis: string;
  /** In the order in which series take them; neighbours stay apart for colour-blind eyes. */
  series: readonly string[];
}

export const COLORS: Readonly<Record<Theme, Colors>> = {
  light: {
    surface: '#fcfcfb',
    ink: '#0b0b0b',
    muted: '#62615c',
    grid: '#e7e6e0',
    axis: '#c3c2b7',
    series: ['#2a78d6', '#eb6834', '#1baf7a', '#4a3aa7', '#eda100', '#e87ba4', '#008300', '#e34948'],
  },
  dark: {
    surface: '#1a1a19',
    ink: '#ffffff',
    muted: '#b5b4aa',
    grid: '#2f2f2c',
    axis: '#4a4a46',
    series: ['#3987e5', '#d95926', '#199e70', '#9085e9', '#c98500', '#d55181', '#3f9c3f', '#e66767'],
  },
};

export const SERIES_COLORS = COLORS.light.series.length;

function rules(theme: Theme): string {
  const { surface, ink, muted, grid, axis, series } = COLORS[theme];
  const fixed = `.ap .bg{fill:${surface}}.ap .ink{fill:${ink}}.ap .mut{fill:${muted}}.ap .grid{stroke:${grid}}`
    + `.ap .axis{stroke:${axis}}.ap .halo,.ap .edge{stroke:${surface}}`;
  return fixed + series.map((c, i) => `.ap .l${i}{stroke:${c}}.ap .f${i}{fill:${c}}`).join('');
}

export const FONT_FAMILY = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif';

const SHAPES = `.ap text{font-family:${FONT_FAMILY}}`
  + '.ap .grid,.ap .axis{stroke-width:1;fill:none}'
  + '.ap .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}'
  + '.ap .faint{stroke-width:1;opacity:.45}.ap .band{opacity:.16}.ap .dash{stroke-dasharray:5 4;stroke-width:1.5}'
  + '.ap .halo,.ap .hollow{stroke-width:2}.ap .hit{fill:transparent}'
  + '.ap .edge{stroke-width:3;paint-order:stroke;stroke-linejoin:round}';

/** The style sheet of a plot: of one theme, or 'auto' for the one that the reader's system prefers. */
export function plotStyle(theme: Theme | 'auto'): string {
  if (theme !== 'auto') return SHAPES + rules(theme);
  return `${SHAPES}${rules('light')}@media (prefers-color-scheme:dark){${rules('dark')}}`;
}
