// Shared by all scenarios. Environment:
//   KT_URL    base URL of what is under test (default http://127.0.0.1:41002)
//   KT_SCALE  factor on rates and users (default 1)
//   KT_TIME   factor on durations (default 1)
import http from "k6/http";
import { check } from "k6";
import { chat } from "k6/x/ktsse";

export const base = __ENV.KT_URL || "http://127.0.0.1:41002";
const scale = Number(__ENV.KT_SCALE || 1);
const time = Number(__ENV.KT_TIME || 1);

export const rate = (n) => Math.max(1, Math.round(n * scale));
export const secs = (n) => `${Math.max(1, Math.round(n * time))}s`;

const headers = { "Content-Type": "application/json" };
const url = `${base}/v1/chat/completions`;

export function body(text, stream, model) {
  return JSON.stringify({
    model: model || "gpt-5.4-mini",
    stream,
    messages: [
      { role: "system", content: "You are a helpful assistant." },
      { role: "user", content: text },
    ],
  });
}

// One whole answer.
export function plain(text, model) {
  const r = http.post(url, body(text, false, model), { headers });
  check(r, {
    "status is 200": (x) => x.status === 200,
    "answer has text": (x) => x.status === 200 && x.json("choices.0.message.content") !== "",
  });
  return r;
}

// One streamed answer, read to its end.
export function streamed(text, opts, model) {
  const r = chat(url, body(text, true, model), Object.assign({ headers }, opts || {}));
  if (!r.aborted) {
    check(r, { "stream is whole": (x) => x.complete, "stream has text": (x) => x.events > 0 || x.finish === "content_filter" });
  }
  return r;
}

// A request that the input policies must refuse.
export function refused(text) {
  const r = http.post(url, body(text, false), {
    headers,
    responseCallback: http.expectedStatuses(409),
  });
  check(r, {
    "blocked with 409": (x) => x.status === 409,
    "reason is given": (x) => x.status === 409 && x.json("error.reason_code") === "prompt_injection.detected",
    "no retry is asked for": (x) => x.headers["X-Should-Retry"] === "false",
  });
  return r;
}

// The SLOs. Time to first token and the gap between tokens are the client's,
// provider included; loadtest/load sets the provider's own share.
export const slo = {
  kt_stream_ok: ["rate>0.999"],
  checks: ["rate>0.999"],
  http_req_failed: ["rate<0.001"],
};
