package harness

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

// Browser is a headless Chromium that a test drives by its DevTools protocol.
type Browser struct {
	t    testing.TB
	out  *os.File
	in   *bufio.Reader
	next int
}

// Tab is a page of a Browser.
type Tab struct {
	b       *Browser
	session string
}

// StartChromium starts a browser with a profile of its own. It believes every
// certificate, and has its own resolver's answer for no name but localhost.
func StartChromium(t testing.TB) *Browser {
	t.Helper()
	program := need(t, "chromium")
	dir := t.TempDir()
	ours, theirs := pipe(t), pipe(t)
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors", "--no-proxy-server",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", "--remote-debugging-pipe", "--user-data-dir="+dir, "about:blank")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + dir, "LC_ALL=C"}
	cmd.ExtraFiles = []*os.File{ours[0], theirs[1]} // 3: it reads, 4: it writes
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ours[0].Close()
	theirs[1].Close()
	t.Cleanup(func() {
		ours[1].Close()
		cmd.Process.Kill()
		cmd.Wait()
		theirs[0].Close()
		// Its helpers may write on for a moment.
		Eventually(t, "the browser's profile is gone", func() bool { return os.RemoveAll(dir) == nil })
	})
	theirs[0].SetReadDeadline(time.Now().Add(4 * Patience))
	return &Browser{t: t, out: ours[1], in: bufio.NewReaderSize(theirs[0], 1<<20)}
}

func pipe(t testing.TB) [2]*os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return [2]*os.File{r, w}
}

// call runs one command and reads its answer into result; nil: nobody wants it.
func (b *Browser) call(session, method string, params map[string]any, result any) {
	b.t.Helper()
	b.next++
	message := map[string]any{"id": b.next, "method": method, "params": params}
	if session != "" {
		message["sessionId"] = session
	}
	text, err := json.Marshal(message)
	if err == nil {
		_, err = b.out.Write(append(text, 0))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	for {
		line, err := b.in.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("the browser does not answer %s: %v", method, err)
		}
		var answer struct {
			ID     int
			Error  json.RawMessage
			Result json.RawMessage
		}
		if err := json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &answer); err != nil {
			b.t.Fatal(err)
		}
		if answer.ID != b.next {
			continue // an event
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// Open opens a tab.
func (b *Browser) Open(url string) *Tab {
	b.t.Helper()
	var target struct{ TargetID, SessionID string }
	b.call("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &target)
	tab := &Tab{b, target.SessionID}
	tab.Go(url)
	return tab
}

// Go navigates as if the user had typed the address.
func (p *Tab) Go(url string) {
	p.b.t.Helper()
	p.b.call(p.session, "Page.navigate", map[string]any{"url": url}, nil)
}

// Eval runs a script in the page and returns its value as text, "" while there
// is no page to run it in. A promise is waited for.
func (p *Tab) Eval(script string) string {
	p.b.t.Helper()
	var answer struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	p.b.call(p.session, "Runtime.evaluate", map[string]any{"expression": script, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &answer)
	if answer.ExceptionDetails != nil || answer.Result.Value == nil {
		return ""
	}
	return fmt.Sprint(answer.Result.Value)
}

// Until waits until a script says true.
func (p *Tab) Until(script string) {
	p.b.t.Helper()
	for over := time.Now().Add(Patience); p.Eval(script) != strconv.FormatBool(true); pause() {
		if time.Now().After(over) {
			p.b.t.Fatalf("%s was not true in time; the page is %s:\n%s", script, p.Eval("location.href"), p.Eval("document.body.innerText"))
		}
	}
}

// Back is the back button.
func (p *Tab) Back() { p.b.t.Helper(); p.Eval("history.back(), true") }

// Look shows the page in a window of this width, light or dark.
func (p *Tab) Look(width, height int, dark bool) {
	p.b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	p.b.call(p.session, "Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	p.b.call(p.session, "Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]string{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// Picture returns the page as PNG.
func (p *Tab) Picture() []byte {
	p.b.t.Helper()
	var shot struct{ Data string }
	p.b.call(p.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		p.b.t.Fatal(err)
	}
	return png
}
