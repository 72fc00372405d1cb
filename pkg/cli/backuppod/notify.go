package backuppod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Notice is what the exit handler posts.
type Notice struct {
	Key       string    `json:"key"`
	Action    string    `json:"action"`
	Namespace string    `json:"namespace"`
	Workflow  string    `json:"workflow"`
	Status    string    `json:"status"`            // Argo's word: Succeeded, Failed, Error
	Message   string    `json:"message,omitempty"` // why it failed
	Finished  time.Time `json:"finished"`
}

// Tries and patience with the receiver: it must not hold up the workflow for long.
const (
	noticeTries   = 5
	noticeTimeout = 10 * time.Second
	noticePause   = 2 * time.Second
)

// notify posts a notice, if the pod has an address for it. The address is a secret: chat
// services put tokens into theirs, so no error may show it.
func (t *task) notify(ctx context.Context, reason string) error {
	to, err := t.optional("notify/url")
	if err != nil || len(to) == 0 {
		return err
	}
	if t.p.Env("PIVT_NOTIFY_ON") != "always" && t.f.status == succeeded {
		return nil
	}
	authorization, err := t.optional("notify/authorization")
	if err != nil {
		return err
	}
	body, err := json.Marshal(Notice{Key: t.key, Action: t.f.action, Namespace: t.p.Env("PIVT_NAMESPACE"), Workflow: t.p.Env("PIVT_WORKFLOW"),
		Status: t.f.status, Message: reason, Finished: time.Now().UTC()})
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := post(ctx, strings.TrimSpace(string(to)), strings.TrimSpace(string(authorization)), body)
		if err == nil {
			t.log.Info("notified")
			return nil
		}
		if try == noticeTries {
			return fmt.Errorf("notifying: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("notifying: %w", err)
		case <-time.After(noticePause):
		}
	}
}

func post(ctx context.Context, to, authorization string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("the Secret's url is not an address")
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the address
		}
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
	if response.StatusCode >= 300 {
		return fmt.Errorf("the receiver answered %s", response.Status)
	}
	return nil
}
