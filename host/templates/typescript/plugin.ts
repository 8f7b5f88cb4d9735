// A plugin for Hermetic. The setting `word` is what its recipients do not want.

%% if delivery
import { idempotencyKey, number } from "hermetic:plugin/attempt@{{version}}";
%% end
%% if envelope message
import { get } from "hermetic:plugin/config@{{version}}";
%% end
%% if envelope
import { reversePath } from "hermetic:plugin/facts@{{version}}";
%% end
%% if report
import { forwardPath } from "hermetic:plugin/facts@{{version}}";
import { state, text as words } from "hermetic:plugin/fate@{{version}}";
%% end
%% if message
import { text } from "hermetic:plugin/header@{{version}}";
%% end
%% if delivery report
import { info } from "hermetic:plugin/log@{{version}}";
%% end
%% if delivery
import { size } from "hermetic:plugin/rendered@{{version}}";
import type { Outcome } from "hermetic:plugin/types@{{version}}";
%% end
%% if envelope
import type { EnvelopeVerdict } from "hermetic:plugin/types@{{version}}";
%% end
%% if message
import type { MessageVerdict } from "hermetic:plugin/types@{{version}}";
%% end
%% if envelope message

function hasTheWord(text: string): boolean {
  const word = get("word") ?? "";
  return word !== "" && text.toLowerCase().includes(word.toLowerCase());
}
%% end
%% for envelope

export const {{onCamel}} = {
  judge(): EnvelopeVerdict {
    if (hasTheWord(reversePath() ?? "")) {
      return { tag: "reject", val: { subject: 7, detail: 1, text: "not from you, please" } };
    }
    return { tag: "proceed" };
  },
};
%% end
%% for message

export const {{onCamel}} = {
  judge(): MessageVerdict {
    if (text("Subject").some(hasTheWord)) {
      return { tag: "reject", val: { subject: 7, detail: 1, text: "not about that, please" } };
    }
    return { tag: "proceed" };
  },
};
%% end
%% for delivery

export const {{onCamel}} = {
  deliver(): Outcome {
    info(`attempt ${number()} of ${idempotencyKey()}, ${size()} octets`);
    const reason = { subject: 3, detail: 0, text: "this delivery is not written yet" };
    return { tag: "retry", val: { reason, afterSeconds: 3600 } };
  },
};
%% end
%% for report

export const {{onCamel}} = {
  note(): void {
    info(`${forwardPath()}: ${state()} ${words()}`);
  },
};
%% end
