#!/usr/bin/env node
// The openai and @anthropic-ai/sdk packages through the gateway: base URLs and keys in the environment are all they know.
const OpenAI = require("openai");
const Anthropic = require("@anthropic-ai/sdk");

const asked = { model: "qwen-plus", messages: [{ role: "user", content: "Hello" }] };
const message = { ...asked, max_tokens: 100 };

async function streamed() {
  let text = "";
  for await (const chunk of await new OpenAI().chat.completions.create({ ...asked, stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
  }
  return text;
}

const talks = {
  openai: [async () => (await new OpenAI().chat.completions.create(asked)).choices[0].message.content, streamed],
  anthropic: [
    async () => (await new Anthropic().messages.create(message)).content[0].text,
    () => new Anthropic().messages.stream(message).finalText(),
  ],
};

(async () => {
  for (const talk of talks[process.argv[2]]) {
    console.log(await talk().catch((fault) => `${fault.constructor.name} ${fault.code ?? fault.error?.error?.type}`));
  }
})();
