#!/usr/bin/env node
// The openai and @anthropic-ai/sdk packages through the gateway: base URLs and keys in the environment are all they know.
const OpenAI = require("openai");
const Anthropic = require("@anthropic-ai/sdk");

const asked = { model: "qwen-plus", messages: [{ role: "user", content: "Hello" }] };

async function openai() {
  const client = new OpenAI();
  console.log((await client.chat.completions.create(asked)).choices[0].message.content);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
    text += chunk.choices[0].delta.content ?? "";
  }
  console.log(text);
}

async function anthropic() {
  const client = new Anthropic();
  const message = { ...asked, max_tokens: 100 };
  console.log((await client.messages.create(message)).content[0].text);
  console.log(await client.messages.stream(message).finalText());
}

(async () => {
  for (const talk of [openai, anthropic]) {
    await talk().catch((fault) => console.log(fault.constructor.name));
  }
})();
