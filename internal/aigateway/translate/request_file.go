package translate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// errProviderFile: without the file the request would be about something else.
var errProviderFile = errors.New("a file that is stored at the provider cannot be carried over")

// dataURL reads "data:image/png;base64,iVBO..." (RFC 2397). ok is false if s is of
// another scheme.
func dataURL(s string) (f mediaFile, ok bool, err error) {
	if len(s) < 5 || !strings.EqualFold(s[:5], "data:") {
		return f, false, nil
	}
	head, data, found := strings.Cut(s[5:], ",")
	if !found {
		return f, true, errors.New("a data: URL has no data")
	}
	kind, encoded := strings.CutSuffix(head, ";base64")
	kind, _, _ = strings.Cut(kind, ";")
	f.mime, f.data = strings.ToLower(strings.TrimSpace(kind)), data
	if f.mime == "" {
		f.mime = "text/plain" // as the RFC has it
	}
	if !encoded {
		plain, err := url.PathUnescape(data)
		if err != nil {
			return f, true, errors.New("a data: URL cannot be read")
		}
		f.data = base64.StdEncoding.EncodeToString([]byte(plain))
	}
	return f, true, nil
}

// dataURL is the file as one.
func (f mediaFile) dataURL() string { return "data:" + f.mime + ";base64," + f.data }

// link is where the file is, as Chat has it in one string.
func (f mediaFile) link() string {
	if f.url != "" {
		return f.url
	}
	return f.dataURL()
}

// filePart makes a part of a file by what kind of file it is. Text stays text: no API
// but Anthropic's has a place for text files, and none reads them differently.
func filePart(f mediaFile) (turnPart, error) {
	f.mime, _, _ = strings.Cut(strings.ToLower(f.mime), ";")
	f.mime = strings.TrimSpace(f.mime)
	switch {
	case strings.HasPrefix(f.mime, "image/"):
		return turnPart{kind: partImage, file: f}, nil
	case f.mime == "application/pdf":
		return turnPart{kind: partDocument, file: f}, nil
	case f.url == "" && (strings.HasPrefix(f.mime, "text/") || f.mime == "application/json"):
		text, err := decodeBase64(f.data)
		if err != nil {
			return turnPart{}, fmt.Errorf("a file of type %s is no base64", f.mime)
		}
		return textPart(documentText(f.title, "", string(text))), nil
	case strings.HasPrefix(f.mime, "audio/"), strings.HasPrefix(f.mime, "video/"):
		return turnPart{}, errors.New("sound and video cannot be carried over")
	}
	return turnPart{}, fmt.Errorf("a file of type %q cannot be carried over", f.mime)
}

// webFile is a file at an address that any provider can reach.
func webFile(address string) (mediaFile, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return mediaFile{}, errors.New("a file's URL is not one of the web")
	}
	return mediaFile{url: address, mime: mimeOf(u.Path)}, nil
}

// mimeOf guesses by a name's end; "" where it tells nothing.
func mimeOf(name string) string {
	switch strings.ToLower(path.Ext(name)) { // the standard library's table differs between machines
	case ".png":
		return "image/png"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".gif":
		return "image/gif"
	case ".webp":
		return "image/webp"
	case ".heic":
		return "image/heic"
	case ".pdf":
		return "application/pdf"
	case ".txt", ".md":
		return "text/plain"
	case ".csv":
		return "text/csv"
	case ".json":
		return "application/json"
	}
	return ""
}

// documentText is a document as text, with what is known of it in front.
func documentText(title, context, text string) string {
	var b strings.Builder
	for _, s := range []string{title, context, text} {
		if s == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n\n")
		}
		b.WriteString(s)
	}
	return b.String()
}

// standardBase64 is data in the alphabet that Anthropic and OpenAI read. Google's JSON
// takes the URL's alphabet and missing padding too.
func standardBase64(data string) string {
	if strings.ContainsAny(data, "-_") {
		data = strings.NewReplacer("-", "+", "_", "/").Replace(data)
	}
	if n := len(data) % 4; n > 1 {
		data += "=="[:4-n]
	}
	return data
}

func decodeBase64(data string) ([]byte, error) {
	return base64.StdEncoding.DecodeString(standardBase64(data))
}
