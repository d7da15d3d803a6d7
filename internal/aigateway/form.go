package aigateway

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
)

// maxFormParts bounds the parts of a form that are looked at.
const maxFormParts = 256

// formModel is the model that a form names, as requests with files are; "" where the
// body is no form, or names none.
func formModel(contentType string, doc []byte) (model string, err error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" {
		return "", nil
	}
	r := multipart.NewReader(bytes.NewReader(doc), params["boundary"])
	for range maxFormParts {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return model, nil
		}
		if err != nil {
			return "", fail(http.StatusBadRequest, "the form in the request body cannot be read")
		}
		if part.FormName() != "model" {
			continue
		}
		value, err := io.ReadAll(io.LimitReader(part, maxModelName+1))
		if err != nil || len(value) > maxModelName || model != "" {
			return "", fail(http.StatusBadRequest, "the request names its model more than once, or not in a way that can be read")
		}
		model = shown(string(value))
	}
	return "", fail(http.StatusBadRequest, "the form in the request body has too many parts")
}
