package fault

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
)

// look is the style of all pages that people see: readable on a phone and in
// the dark, and without anything from elsewhere. Ids are selected by one click.
const look = `:root{color-scheme:light dark}` +
	`body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:12vh auto;padding:0 1.25rem;color:#1b1b1b;background:#fff;overflow-wrap:break-word}` +
	`h1{font-size:1.5rem;line-height:1.25;margin:0 0 1rem}` +
	`p{margin:0 0 1rem}` +
	`dl{margin:1.5rem 0;padding:1rem 1.25rem;background:#f2f2f2;border-radius:.5rem}` +
	`dt{font-size:.875rem;color:#555}dd{margin:0 0 .5rem}dd:last-child{margin:0}` +
	`code{font:1rem/1.5 ui-monospace,monospace;user-select:all}` +
	`button,.do{display:inline-block;font:inherit;padding:.5rem 1.25rem;border:1px solid #1b4fa0;border-radius:.375rem;background:#1b4fa0;color:#fff;text-decoration:none;cursor:pointer}` +
	`a:focus-visible,button:focus-visible{outline:3px solid #e08a00;outline-offset:2px}` +
	`@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}dl{background:#262626}dt{color:#b5b5b5}button,.do{background:#8ab4f8;border-color:#8ab4f8;color:#111}}`

// PagePolicy is the Content-Security-Policy of AppendPage: nothing is loaded,
// nothing runs, nobody frames it.
var PagePolicy = func() string {
	sum := sha256.Sum256([]byte(look))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; frame-ancestors 'none'; base-uri 'none'"
}()

// AppendPage appends a page of ours. title and body are HTML, made of
// constants and of what was escaped.
func AppendPage(b []byte, title, body string) []byte {
	b = append(b, `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>`...)
	b = append(b, title...)
	b = append(b, `</title><style>`+look+`</style><main><h1>`...)
	b = append(b, title...)
	b = append(b, `</h1>`...)
	b = append(b, body...)
	return append(b, "</main>\n"...)
}

// AppendPage appends what a person is shown of a refusal: its sentence, when to
// come again in seconds (0: nobody knows), where to begin anew (HTML; "":
// nowhere), the code, and the request's id.
func (c Code) AppendPage(b []byte, id []byte, wait int64, back string) []byte {
	body := ""
	if wait > 0 {
		body = "<p>Please try again in " + strconv.FormatInt(wait, 10) + " second"
		if wait > 1 {
			body += "s"
		}
		body += ".</p>"
	}
	if back != "" {
		body += `<p><a class="do" href="` + back + `">Try again</a></p>`
	}
	body += "<dl><dt>Code</dt><dd><code>" + c.Public().String() + "</code></dd><dt>Request id</dt><dd><code>" + string(id) + "</code></dd></dl><p>If you ask for help, name the code and the request id.</p>"
	return AppendPage(b, c.Detail(), body)
}
