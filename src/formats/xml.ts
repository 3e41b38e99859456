/** @file Text within XML, which SVG and (by the same rules) HTML are written in. */
const ENTITIES: Readonly<Record<string, string>> =
  { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\'': '&#39;' };

/** Text for element content or a quoted attribute: no markup, and no control characters, which XML cannot hold. */
export function escapeXml(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]|[\p{Cs}\ufffe\uffff]/gu, ' ').replace(/[&<>"']/g, (c) => ENTITIES[c]!);
}
