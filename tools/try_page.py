#!/usr/bin/env python3
"""Uses the server's page as a person would, in a headless Chromium.

    incontext serve shared/models/stories260K --port 8080 &
    pip install websockets
    python3 tools/try_page.py http://127.0.0.1:8080 --screenshot page.png

Types a prompt and sends it; sees the answer grow while it is streamed, and the figures of cache and speed change;
stops another answer, after Clear, halfway; looks for errors in the browser's console. Ends with status 1 and says what
was not so.
Chromium is driven through its own remote debugging, so that websockets is all that is needed.
"""

import argparse
import asyncio
import base64
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import websockets


class Page:
    """A tab: commands by number, and the events that come between their answers."""

    def __init__(self, socket):
        self.socket, self.numbers, self.waiting, self.problems = socket, itertools.count(1), {}, []
        self.reader = asyncio.create_task(self.read())

    async def read(self):
        async for text in self.socket:
            message = json.loads(text)
            if "id" in message:
                self.waiting.pop(message["id"]).set_result(message)
            elif message["method"] == "Runtime.exceptionThrown":
                self.problems.append(message["params"]["exceptionDetails"]["text"])
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                entry = message["params"]["entry"]
                self.problems.append(f"{entry['text']} {entry.get('url', '')}")

    async def command(self, method, **params):
        number = next(self.numbers)
        self.waiting[number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        answer = await asyncio.wait_for(self.waiting[number], 30)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    async def value(self, expression):
        result = await self.command("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']['text']}")
        return result["result"].get("value")

    async def until(self, expression, seconds=20):
        end = time.monotonic() + seconds
        while not await self.value(expression):
            if time.monotonic() > end:
                shown = await self.value("document.body.innerText")
                raise RuntimeError(f"did not come true in {seconds} s: {expression}\nthe page: {shown}")
            await asyncio.sleep(0.02)

    async def type(self, selector, text):
        await self.value(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.command("Input.insertText", text=text)

    async def screenshot(self, path):
        image = await self.command("Page.captureScreenshot", format="png")
        pathlib.Path(path).write_bytes(base64.b64decode(image["data"]))

    async def press_enter(self):
        for kind in ("keyDown", "keyUp"):
            await self.command("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                               windowsVirtualKeyCode=13)


LAST = "[...document.querySelectorAll('.assistant')].at(-1).textContent"
BUTTON = "document.querySelector('#send').textContent"


# Company for the page's own request: a small model's answer alone is over before the figures are drawn again.
OTHERS = """fetch(route("v1/completions"), {method: "POST", body: JSON.stringify(
    {prompt: "One day", max_tokens: %d, n: 48, ignore_eos: true, temperature: 1})}); 0"""


async def try_page(page, options):
    for domain in ("Page", "Runtime", "Log"):
        await page.command(f"{domain}.enable")
    await page.command("Page.navigate", url=options.url)
    await page.until("document.readyState == 'complete'")
    await page.until("document.querySelector('#model').textContent != 'incontext'")
    await page.until("document.querySelector('#figures').textContent.includes('tokens/s')")
    found = {"model": await page.value("document.querySelector('#model').textContent")}

    await page.value(f"document.querySelector('#max_tokens').value = {options.tokens}")
    await page.value(OTHERS % options.tokens)
    await page.type("#text", options.prompt)
    await page.press_enter()
    lengths, figures = set(), []
    await page.until("document.querySelectorAll('.assistant').length == 1")
    while await page.value(f"{BUTTON} == 'Stop'") or not lengths:
        lengths.add(await page.value(f"{LAST}.length"))
        figures.append(await page.value("document.querySelector('#figures').textContent"))
        if options.screenshot and "cache" in figures[-1] and len(lengths) > 3:
            await page.screenshot(options.screenshot)
            options.screenshot = None
        await asyncio.sleep(0.03)
    found["answer"] = await page.value(LAST)
    await page.until("document.querySelector('#figures').textContent.includes('0 running')")
    speeds = [float(speed) for each in figures for speed in re.findall(r"([\d.]+) tokens/s", each)]
    found |= {"lengths_seen": len(lengths), "figures": sorted(set(figures)), "fastest": max(speeds, default=0)}

    await page.value("document.querySelector('#clear').click()")
    await page.until("document.querySelectorAll('.said').length == 0")
    await page.type("#text", options.prompt)
    await page.press_enter()
    await page.until(f"document.querySelectorAll('.assistant').length == 1 && {LAST}.length > 20")
    await page.value("document.querySelector('#send').click()")
    await page.until(f"{BUTTON} == 'Send'")
    found["stopped_answer_characters"] = await page.value(f"{LAST}.length")
    await page.until("document.querySelector('#figures').textContent.includes('0 running')", 5)
    if options.screenshot:
        await page.screenshot(options.screenshot)

    errors = await page.value("[...document.querySelectorAll('.error')].map(each => each.textContent)")
    wrong = [f"console: {each}" for each in page.problems] + [f"on the page: {each}" for each in errors]
    if len(lengths) < 3:
        wrong.append("the answer came at once, not token by token")
    if found["fastest"] == 0:
        wrong.append("the figures show no speed")
    if not any(re.search(r"cache \S+ \d", each) for each in figures):
        wrong.append("the figures show no cache")
    return {**found, "wrong": wrong}


async def run(options):
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [options.chromium, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
             "--window-size=900,700", f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL)
        try:
            port_file = pathlib.Path(profile) / "DevToolsActivePort"
            for _ in range(300):
                if port_file.exists() and len(port_file.read_text().split()) == 2:
                    break
                await asyncio.sleep(0.1)
            port, path = port_file.read_text().split()
            async with websockets.connect(f"ws://127.0.0.1:{port}{path}") as socket:
                target = (await Page(socket).command("Target.createTarget", url="about:blank"))["targetId"]
            async with websockets.connect(f"ws://127.0.0.1:{port}/devtools/page/{target}", max_size=None) as socket:
                return await try_page(Page(socket), options)
        finally:
            browser.terminate()
            browser.wait()


def main():
    parser = argparse.ArgumentParser(description="Uses the server's page in a headless Chromium.")
    parser.add_argument("url", help="such as http://127.0.0.1:8080")
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--screenshot", help="PNG file to write")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    result = asyncio.run(run(parser.parse_args()))
    print(json.dumps(result, indent=1, ensure_ascii=False))
    sys.exit(1 if result["wrong"] else 0)


if __name__ == "__main__":
    main()
