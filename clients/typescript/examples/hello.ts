import { Client, durationFromMs, jsonPayload, result } from "timeball";

const client = new Client(); // TIMEBALL_ADDRESS, else 127.0.0.1:7466
const { name } = await client.create({
  handler: "hello.greet",
  payload: jsonPayload({ name: "sailor" }),
  delay: durationFromMs(1_000),
});
const greeting = result<string>(await client.wait(name));
console.log(greeting);
client.close();
