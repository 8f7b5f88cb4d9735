// Judges what has a word in its Subject, and tags the rest.

import { get } from "hermetic:plugin/config@0.1.0";
import { prepend } from "hermetic:plugin/edit@0.1.0";
import { text } from "hermetic:plugin/header@0.1.0";
import type { MessageVerdict } from "hermetic:plugin/types@0.1.0";

export const onRecipientMessage = {
  judge(): MessageVerdict {
    const word = get("word");
    const hasIt = (subject: string) => subject.toLowerCase().includes((word ?? "").toLowerCase());
    if (!word || !text("Subject").some(hasIt)) {
      prepend("X-Hermetic-Tag", "typescript");
      return { tag: "proceed" };
    }
    const val = { subject: 7, detail: 1, text: `no ${word}, please` };
    const verdict = get("verdict") ?? "reject";
    switch (verdict) {
      case "reject":
      case "defer":
        return { tag: verdict, val };
      case "discard":
      case "accept":
        return { tag: verdict };
      default:
        // No answer is the operator's failure policy's.
        throw new Error(`${verdict} is no verdict`);
    }
  },
};
