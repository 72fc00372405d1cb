package keeper

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// answerMark begins the line that a pod answers with. A pod's log mixes standard output and
// error, so what is meant for us needs a mark.
const answerMark = "PIVT-ANSWER "

// maxAnswer bounds what an answer may unpack to.
const maxAnswer = 64 << 20

// WriteAnswer prints what a pod answers, as JSON. It is the last thing that a pod does.
func WriteAnswer(w io.Writer, v any) error {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if err := json.NewEncoder(z).Encode(v); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s%s\n", answerMark, base64.StdEncoding.EncodeToString(packed.Bytes()))
	return err
}

var errNoAnswer = errors.New("there is no answer in its log")

// ReadAnswer finds the last answer in a pod's log, as JSON.
func ReadAnswer(log string) ([]byte, error) {
	for _, line := range slices.Backward(strings.Split(log, "\n")) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), answerMark)
		if !ok {
			continue
		}
		packed, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("reading the answer in its log: %w", err)
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, fmt.Errorf("reading the answer in its log: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(z, maxAnswer))
		if err != nil {
			return nil, fmt.Errorf("reading the answer in its log: %w", err)
		}
		return data, nil
	}
	return nil, errNoAnswer
}
