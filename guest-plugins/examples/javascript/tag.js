// Refuses what has a word in its Subject, and tags the rest.

import { get } from "hermetic:plugin/config@0.1.0";
import { prepend } from "hermetic:plugin/edit@0.1.0";
import { text } from "hermetic:plugin/header@0.1.0";

export const onRecipientMessage = {
  judge() {
    const word = get("word");
    const subjects = text("Subject");
    if (word && subjects.some((subject) => subject.toLowerCase().includes(word.toLowerCase()))) {
      return { tag: "reject", val: { subject: 7, detail: 1, text: `no ${word}, please` } };
    }
    prepend("X-Hermetic-Tag", "javascript");
    return { tag: "proceed" };
  },
};
