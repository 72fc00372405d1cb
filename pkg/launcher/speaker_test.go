package launcher

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestSpeaker(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		in     string
		want   []string
	}{
		"Lines": {"What an API server says may have several lines; the peer logs each.", "a\nb\r\n", []string{"a", "b"}},
		"Blank": {"Blank lines stay.", "a\n\nb", []string{"a", "", "b"}},
		"Long":  {"The peer stops reading for good at 64 KiB.", strings.Repeat("x", 2*maxLine+1), []string{strings.Repeat("x", maxLine), strings.Repeat("x", maxLine), "x"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			s := newSpeaker(&out, func() { t.Error("writing to memory failed") })
			s.report(tc.in)
			s.close()
			s.report("after the end")
			var got []string
			in := bufio.NewScanner(strings.NewReader(out.String()))
			for in.Scan() {
				got = append(got, in.Text())
			}
			if in.Err() != nil || strings.Join(got, "\n") != strings.Join(tc.want, "\n") {
				t.Errorf("%s\ngot %d lines, %v", tc.reason, len(got), in.Err())
			}
		})
	}
}

type brokenPipe struct{ io.Writer }

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestSpeakerBroken(t *testing.T) {
	t.Parallel()
	called := make(chan struct{}, 1)
	s := newSpeaker(brokenPipe{}, func() { called <- struct{}{} })
	s.report("a")
	<-called // or the test does not end: the peer is gone and nobody would know
	s.close()
}
