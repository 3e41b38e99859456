/** @file A command line that can be copied. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';

export function Command({ text }: { text: string }): JSX.Element {
  const [copied, setCopied] = useState('');
  return (
    <div class="command">
      <code>{text}</code>
      <button class="plain" onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(text))}>{copied === text ? 'Copied' : 'Copy'}</button>
    </div>
  );
}
