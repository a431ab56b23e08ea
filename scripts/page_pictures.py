"""Renew the pictures of the page in docs/images from a running farm: `python scripts/page_pictures.py URL PHOTOS`.

URL is a farm of yours with the model `demo`, such as `imagefarm up --data-dir /tmp/pictures`; PHOTOS is a folder of
photographs. The gallery shows them reduced and enlarged again by the farm's upscalers; what `demo` renders is noise. Needs
the development tools (`scripts/bootstrap.py dev`), chromium and chromedriver.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import httpx
from PIL import Image, ImageOps
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.e2e.browser.chromium import chromium, use_scheme  # noqa: E402 -- after the path is set
from tests.e2e.browser.page import Page  # noqa: E402

FAST, PLAIN = "realesr-animevideov3", "lanczos"
PROMPTS = {"en": "a red fox asleep in snow, soft morning light", "zh": "雪地里熟睡的红狐，柔和的晨光"}
SIDE, WIDTH = 160, 960  # of a reduced photograph; of the animation
VIEWS = ("create", "gallery", "compare", "farm")


def seed(url: str, photos: Path) -> list[str]:
    """Enlarge every photograph on the farm, the first one also without a network; return the ids of the first's images."""
    first: list[str] = []
    for number, path in enumerate(sorted(each for each in photos.iterdir() if each.suffix in (".png", ".jpg", ".webp"))):
        small = ImageOps.fit(Image.open(path).convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
        data = io.BytesIO()
        small.save(data, "PNG")
        upload = httpx.post(f"{url}/v1/uploads", content=data.getvalue(), headers={"Content-Type": "image/png"}).json()
        for upscaler in (PLAIN, FAST) if number == 0 else (FAST,):
            body = {"upload": upload["id"], "scale": 4, "upscaler": upscaler}
            job = httpx.post(f"{url}/v1/upscales", json=body, headers={"Prefer": "wait=60"}, timeout=90).json()
            if number == 0:
                first.append(job["outputs"][0]["id"])
    return first


def show(page: Page, language: str, view: str, pair: list[str]) -> None:
    """Open a view, as its picture shows it."""
    page.visit("img/mark.svg")
    page.script("localStorage.setItem('imagefarm.language', JSON.stringify(arguments[0]))", language)
    page.driver.get("about:blank")
    if view == "create":
        page.open("#/create")
        page.render(PROMPTS[language])
        page.wait_state("succeeded")
        page.image_size()
        page.script("window.scrollTo(0, 0); document.querySelector('#compose').scrollTop = 0")
    else:
        page.visit("#/gallery" if view == "compare" else f"#/{view}")
        page.until(lambda: page.find_all(".cell img.in, .worker"), "the view has no content")
    if view == "compare":
        page.module("js/gallery/compare.js", f"(m.compareImages({{fail: console.error}}, ['{pair[0]}', '{pair[1]}']), true)")
        page.until(lambda: page.find_all(".compare-over img"), "no comparison")
    time.sleep(1.5)  # pictures are decoded and faded in


def take(driver: Chrome) -> Image.Image:
    """Return the visible page."""
    return Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")


def film(page: Page, pair: list[str]) -> list[tuple[Image.Image, int]]:
    """Go from a prompt to an enlarged image; return the frames with their milliseconds."""
    frames: list[tuple[Image.Image, int]] = []

    def shoot(milliseconds: int) -> None:
        picture = take(page.driver)
        frames.append(
            (picture.resize((WIDTH, picture.height * WIDTH // picture.width), Image.Resampling.LANCZOS), milliseconds)
        )

    page.open("#/create")
    shoot(900)
    for end in range(9, len(PROMPTS["en"]) + 9, 9):
        page.write("#prompt", PROMPTS["en"][:end])
        shoot(120)
    page.until(lambda: "·" in page.find("#estimate").text, "no estimate")
    shoot(1500)
    ActionChains(page.driver).key_down(Keys.CONTROL).send_keys(Keys.ENTER).key_up(Keys.CONTROL).perform()
    page.until(lambda: page.state == "running", "not running")
    while page.state == "running":
        shoot(220)
    page.wait_state("succeeded")
    page.image_size()
    shoot(1500)
    page.visit("#/gallery")
    page.until(lambda: page.find_all(".cell img.in"), "no pictures")
    time.sleep(1)
    shoot(2000)
    show(page, "en", "compare", pair)
    for cut in (50, 35, 20, 35, 50, 65, 80, 50):
        page.script(
            "const slider = document.querySelector('#compare-slider');"
            "slider.value = arguments[0]; slider.dispatchEvent(new Event('input'))",
            cut,
        )
        shoot(250)
    page.driver.get("about:blank")
    page.visit(f"#/gallery/{pair[1]}")
    page.until(lambda: page.find_all("#viewer-upscale4"), "no actions")
    time.sleep(1)
    shoot(1500)
    page.click("#viewer-upscale4")
    page.until(lambda: page.find_all(".toast"), "no notice")
    shoot(1200)
    page.click(".toast button")
    page.until(lambda: page.state in ("queued", "running"), "the upscale is not shown")
    for _ in range(6):  # its end may take minutes on a CPU
        shoot(700)
    return frames


def main() -> None:
    """Write the pictures of four views in both languages, and an animation."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    asked = parser.parse_args()
    url = asked.url.rstrip("/")
    pair = seed(url, asked.photos)
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile), size=(1360, 850)) as driver:
        page = Page(driver, url)
        page.forget()
        for language in PROMPTS:
            use_scheme(driver, dark=False)
            for view in VIEWS:
                show(page, language, view, pair)
                take(driver).save(asked.out / f"page-{view}.{language}.webp", quality=82, method=6)
        page.forget()
        frames = film(page, pair)
    pictures, times = [picture for picture, _ in frames], [milliseconds for _, milliseconds in frames]
    pictures[0].save(
        asked.out / "page.webp", save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=60, method=2
    )
    size = (asked.out / "page.webp").stat().st_size
    sys.stdout.write(f"{len(frames)} frames, {sum(times) / 1000:.1f} s, {size:,} bytes\n")


if __name__ == "__main__":
    main()
