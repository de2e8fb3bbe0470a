package main

import (
	"bytes"
	debugmacho "debug/macho"
	"fmt"
	"html"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"narseal/nar/nartest"
)

// A name that would do harm in a page that takes it as it is.
const hostileName = `</script><img src=x onerror=alert(1)>&amp;"'`

// htmlTree has images of which some are invalid.
func htmlTree(t *testing.T) nartest.Dir {
	golden := func(name string, damaged ...int) nartest.Exec {
		data := readTestdata(t, "macho/goldens/A/"+name)
		for _, off := range damaged {
			data[off] ^= 0xff
		}
		return nartest.Exec(data)
	}
	signature := func(name string, magic string) int {
		return bytes.Index(readTestdata(t, "macho/goldens/A/"+name), []byte(magic))
	}
	var many []int
	for page := 80; page < 110; page++ {
		many = append(many, page*4096+17)
	}
	return nartest.Dir{
		"bin": nartest.Dir{
			"good":      golden("lld-arm64"),
			"page1":     golden("lld-arm64", 4096),
			"many":      golden("go-arm64", append(many, 4000, 900_000)...),
			"universal": golden("dual-universal", 45056),
			"entitled":  golden("ents-arm64", signature("ents-arm64", "\xfa\xde\x71\x71")+20),
			"malformed": golden("lld-x86_64", signature("lld-x86_64", "\xfa\xde\x0c\xc0")),
			"odd" + strings.ReplaceAll(hostileName, "/", "\\"): golden("lld-armv7", 4200),
		},
		"text": nartest.File("no image"),
	}
}

// htmlReport runs verify --html and returns the report.
func htmlReport(t *testing.T, status int, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "page.html")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{program, "verify", "--html", name}, args...), nil, &stdout, &stderr); code != status {
		t.Fatalf("status %d, want %d: %s", code, status, &stderr)
	}
	page, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func htmlArchive(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "x.nar")
	if err := os.WriteFile(name, nartest.Tree(htmlTree(t)), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestHTML(t *testing.T) {
	archive := htmlArchive(t)
	page := htmlReport(t, statusInvalid, archive)
	// Nothing is loaded, and no name becomes markup.
	for _, m := range regexp.MustCompile(`(?i)\b(?:src|href|action|data|poster|xlink:href)\s*=\s*["']?([^"'\s>]*)|url\(([^)]*)\)|@import|https?:`).FindAllStringSubmatch(unescapedTags(page), -1) {
		if ref := m[1] + m[2]; !strings.HasPrefix(ref, "#") {
			t.Errorf("the page refers to %q", m[0])
		}
	}
	if n := strings.Count(page, "<img"); n > 0 || strings.Count(page, "<script") != 1 || strings.Count(page, "</script") != 1 {
		t.Errorf("%d images, %d scripts", n, strings.Count(page, "<script"))
	}
	if !strings.Contains(page, html.EscapeString("/bin/odd<")) {
		t.Error("the odd name is not there")
	}
	if got := strings.Count(page, "<tr data-status="); got != 8 {
		t.Errorf("%d rows, want 8", got)
	}
	// Without its script the page has nothing that would do nothing.
	if !strings.Contains(page, `<form id="filter" aria-label="Filter the slices" hidden>`) || strings.Contains(page[:strings.Index(page, "<script")], "<button") {
		t.Error("controls that need the script show without it")
	}
	for _, want := range []string{
		"<title>6 invalid signatures · narseal verify</title>",
		"1 of 13 pages of 4.0 KiB does not match.",
		"32 of 424 pages of 4.0 KiB do not match.",
		"CodeDirectory 0x0 (sha1) and 0x1000 (sha256)",
		"−5: the entitlements",
		"A Mac kills a program when it reads a part of a file that does not match",
		"1 signature cannot be repaired: build the program again, or sign it again.",
		"The slice begins at offset 0x8000 of the file",
		`<td class="pages">80-109</td><td class="code">0x50000</td><td class="code">0x6dfff</td>`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not have %q", want)
		}
	}
}

// unescapedTags is a page with its tags alone.
func unescapedTags(page string) string {
	return strings.Join(regexp.MustCompile(`<[^>]*>|(?s)<style>.*?</style>`).FindAllString(page, -1), "\n")
}

// What lies on a bad page is what the standard library finds there.
func TestHTMLSections(t *testing.T) {
	for _, name := range []string{"lld-arm64", "lld-armv7", "go-arm64", "ents-x86_64"} {
		data := readTestdata(t, "macho/goldens/A/"+name)
		f, err := debugmacho.NewFile(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		for page := range 4 {
			from, to := uint32(page*4096), uint32(page+1)*4096
			var want []string
			for _, s := range f.Sections {
				if s.Flags&0xff != 1 && s.Offset < to && s.Offset+uint32(s.Size) > from {
					want = append(want, s.Seg+","+s.Name)
				}
			}
			damaged := bytes.Clone(data)
			damaged[from+60] ^= 1
			loose := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(loose, damaged, 0o666); err != nil {
				t.Fatal(err)
			}
			html := htmlReport(t, statusInvalid, loose)
			m := regexp.MustCompile(fmt.Sprintf(`<td class="pages">%d</td><td class="code">%#x</td><td class="code">%#x</td><td class="code">([^<]*)(?:<span class="store">[^<]*</span>)*</td>`,
				page, from, to-1)).FindStringSubmatch(html)
			if m == nil {
				t.Errorf("%s: page %d is not there", name, page)
				continue
			}
			got := slices.DeleteFunc(strings.Split(m[1], " · "), func(s string) bool { return !strings.Contains(s, ",") })
			if !slices.Equal(got, want) {
				t.Errorf("%s: on page %d lie %q, want %q", name, page, got, want)
			}
		}
	}
}

// A page of nothing wrong, and one of nothing at all.
func TestHTMLOfValid(t *testing.T) {
	page := htmlReport(t, statusDone, "../../testdata/macho/goldens/A")
	if !strings.Contains(page, "<h1>Every signature is valid</h1>") || strings.Contains(page, "<details") {
		t.Error("the page tells of something wrong")
	}
	page = htmlReport(t, statusError, t.TempDir(), filepath.Join(t.TempDir(), "absent"))
	if !strings.Contains(page, "No signed image was found.") || !strings.Contains(page, "no such file or directory") {
		t.Error("the page does not tell of what could not be read")
	}
}

// chromium runs a headless browser, which must not take long.
func chromium(t *testing.T, args ...string) []byte {
	t.Helper()
	browser, err := exec.LookPath("chromium")
	if err != nil {
		// Not one of the tools that scripts/test installs: it is larger than all of them.
		t.Skip("needs chromium")
	}
	cmd := exec.CommandContext(t.Context(), browser, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
	}, args...)...)
	cmd.Cancel = cmd.Process.Kill
	cmd.WaitDelay = time.Minute
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, &stderr)
	}
	return out
}

func writeHTML(t *testing.T, page string) string {
	name := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(name, []byte(page), 0o666); err != nil {
		t.Fatal(err)
	}
	return "file://" + name
}

// The report in a browser, light and dark. With go test -artifacts the screenshots stay.
func TestHTMLScreenshot(t *testing.T) {
	url := writeHTML(t, htmlReport(t, statusInvalid, htmlArchive(t)))
	for _, scheme := range []struct {
		name, setting string
		ground, bad   [3]uint32
	}{
		{"light", "1", [3]uint32{0xff, 0xff, 0xff}, [3]uint32{0xb3, 0x17, 0x1f}},
		{"dark", "0", [3]uint32{0x14, 0x17, 0x1b}, [3]uint32{0xff, 0x8f, 0x8f}},
	} {
		name := filepath.Join(t.ArtifactDir(), scheme.name+".png")
		chromium(t, "--window-size=1200,3200", "--blink-settings=preferredColorScheme="+scheme.setting, "--screenshot="+name, url)
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		counts := map[[3]uint32]int{}
		for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
			for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
				r, g, b, _ := picture.At(x, y).RGBA()
				counts[[3]uint32{r >> 8, g >> 8, b >> 8}]++
			}
		}
		if counts[scheme.ground] < 1200*1000 || counts[scheme.bad] < 34*12*12/2 {
			t.Errorf("%s: %d pixels of the ground and %d of bad pages", scheme.name, counts[scheme.ground], counts[scheme.bad])
		}
	}
}

// exercise uses the report as a user without a mouse would, and writes what it saw into it.
const exercise = `<script>
const seen = [];
const rows = () => [...document.querySelectorAll("#slices tbody tr")].filter((r) => !r.hidden);
const column = (i) => rows().map((r) => r.cells[i].textContent).join("|");
const buttons = [...document.querySelectorAll("#slices th button")];
seen.push("copy " + [...document.querySelectorAll(".command")].map((c) => c.querySelector("button").tabIndex + " " + c.querySelector("code").textContent.replace(/\/.*\//g, "")).join("|"));
seen.push("buttons " + buttons.filter((b) => b.tabIndex === 0).length);
buttons[4].focus(); seen.push("focused " + (document.activeElement === buttons[4]));
buttons[4].click(); seen.push("stale " + column(4) + " " + buttons[4].parentNode.getAttribute("aria-sort"));
buttons[4].click(); seen.push("stale " + column(4) + " " + buttons[4].parentNode.getAttribute("aria-sort"));
buttons[2].click(); seen.push("arch " + column(2) + " " + buttons[2].parentNode.getAttribute("aria-sort") + " " + buttons[4].parentNode.getAttribute("aria-sort"));
const find = document.getElementById("find");
const type = (s) => { find.value = s; find.dispatchEvent(new Event("input", {bubbles: true})); };
type("UNIVERSAL arm64"); seen.push("found " + column(2) + ", " + document.getElementById("shown").textContent);
type("");
for (const box of document.querySelectorAll("#filter input[type=checkbox]")) if (box.value !== "malformed") box.click();
seen.push("left " + column(0));
document.querySelectorAll("details").forEach((d) => d.open = false);
location.hash = "#" + document.querySelector("summary").id;
addEventListener("hashchange", () => setTimeout(() => {
	const d = document.querySelector("details");
	seen.push("opened " + d.open + " " + (document.activeElement === d.querySelector("summary")));
	const pre = document.createElement("pre");
	pre.id = "seen"; pre.textContent = seen.join("\n");
	document.body.append(pre);
}, 500));
</script>`

func TestHTMLIsWorked(t *testing.T) {
	page := htmlReport(t, statusInvalid, htmlArchive(t))
	// The page's policy would keep the exercise from running.
	policy := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy"[^>]*>`)
	worked := strings.Replace(policy.ReplaceAllString(page, ""), "</body>", exercise+"</body>", 1)
	dom := string(chromium(t, "--virtual-time-budget=5000", "--dump-dom", writeHTML(t, worked)))
	_, seen, _ := strings.Cut(dom, `<pre id="seen">`)
	seen, _, _ = strings.Cut(seen, "</pre>")
	want := strings.Join([]string{
		"copy 0 narseal repair -o x.nar",
		"buttons 6",
		"focused true",
		"stale 32|2|2|1|1|0|0|0 descending",
		"stale 0|0|0|1|1|2|2|32 ascending",
		"arch arm64|arm64|arm64|arm64|arm64|armv7|x86_64|x86_64 ascending null",
		"found arm64, 1 of 8 shown",
		"left malformed",
		"opened true true",
	}, "\n")
	if seen != want {
		t.Errorf("seen\n%s\nwant\n%s", seen, want)
	}
	// Under its policy the page's own script runs, and nothing else does.
	dom = string(chromium(t, "--dump-dom", writeHTML(t, strings.Replace(page, "</body>", exercise+"</body>", 1))))
	if !strings.Contains(dom, "8 of 8 shown") || strings.Contains(dom, `id="seen"`) {
		t.Error("the policy does not fit the page's script, or lets another run")
	}
}

// TestHTMLStorePathOnPage replaces a hash as sed does: the report names the store path that stands on the bad page.
func TestHTMLStorePathOnPage(t *testing.T) {
	sample, err := os.ReadFile("../../testdata/sample.nar")
	if err != nil {
		t.Fatal(err)
	}
	const from, to = "c7pxwlricrjnrk7ymhzfzig1gh9m971s", "zs4w5ny0jq3ijrad3la4a6rvbn4bpiyx"
	replaced := bytes.ReplaceAll(sample, []byte(from), []byte(to))
	archive := filepath.Join(t.TempDir(), "x.nar")
	writeFile(t, archive, replaced)
	want := `<span class="store">/nix/store/` + to + "-"
	for name, input := range map[string]string{"archive": archive, "directory": nartest.Restore(t, replaced)} {
		if page := htmlReport(t, statusInvalid, input); !strings.Contains(page, want) {
			t.Errorf("%s: no %q in the report", name, want)
		}
	}
	writeFile(t, archive, sample)
	if page := htmlReport(t, statusDone, archive); strings.Contains(page, `class="store">/nix/store/`) {
		t.Error("a store path is named where no page is bad")
	}
}
