package chaincode

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/network"
)

func roundTrip(t *testing.T, data []byte) []byte {
	t.Helper()
	packed := compress(data)
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes do not come back: %v", len(data), err)
	}
	return packed
}

func TestCompress(t *testing.T) {
	t.Parallel()
	// Every length and every distance has a code of its own.
	for length := 1; length <= 300; length++ {
		roundTrip(t, bytes.Repeat([]byte{'x'}, length))
		gap := make([]byte, length*119)
		for i := range gap {
			gap[i] = byte(i * i >> 3)
		}
		roundTrip(t, []byte("begin"+string(gap)+"begin"))
	}
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, size := range []int{0, 1, 3, 4, window - 1, window, window + 1, maxBlock - 1, maxBlock, maxBlock + 1, 3 * maxBlock} {
		packed := roundTrip(t, bytes.Repeat(all, size/256+1)[:size])
		if size > 2000 && len(packed) > size/8 {
			t.Errorf("%d repetitive bytes become %d", size, len(packed))
		}
	}
}

func FuzzCompress(f *testing.F) {
	f.Add([]byte("abcabcabcabcabcabc"), 3)
	f.Add([]byte{0, 1, 255, 254}, 70_000)
	f.Fuzz(func(t *testing.T, data []byte, times int) {
		if len(data) == 0 || times < 0 || len(data)*times > 1<<20 {
			t.Skip()
		}
		data = bytes.Repeat(data, times)
		if packed := roundTrip(t, data); len(packed) > len(data)+5*(len(data)/maxBlock+1)+18 {
			t.Errorf("%d bytes grow to %d", len(data), len(packed))
		}
	})
}

func TestPackageTooLarge(t *testing.T) {
	t.Parallel()
	cc := &network.Chaincode{Name: "basic", Version: "1.0", Source: "./cc", Language: "node"}
	tr := tree{cc: cc, limit: 2 << 20, root: fstest.MapFS{
		"package.json": {Data: []byte(`{"scripts": {"start": "x"}}`)}, "small/a": {Data: []byte("x")}, "models/a": {Data: incompressible(3 << 20)}}}
	_, err := tr.pack()
	const want = "./cc: the package has 3 MiB, and the limit is 2; the largest part is models with 3 MiB: list what the build does not need in .pivtignore"
	if err == nil || err.Error() != want || exit.CodeOf(err) != exit.Invalid {
		t.Errorf("pack: %v\nwant %s", err, want)
	}
}

func incompressible(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x >> 8)
	}
	return b
}

func TestIgnorer(t *testing.T) {
	t.Parallel()
	cases := []struct {
		reason, patterns string
		ignored, kept    string // names; a "/" at the end for a directory
	}{
		{"A name fits at any depth, a file or a directory.", "a", "a b/a a/", "ab b/aa"},
		{"A slash ties the pattern to the root.", "/a\nb/c", "a b/c", "x/a x/b/c"},
		{"A slash at the end means directories.", "a/", "a/ x/a/", "a x/a"},
		{"One star stops at slashes, two do not.", "/a/*.js\n/b/**/x\nc/**", "a/x.js b/x b/y/z/x c/y c/y/z", "a/b/x.js x c"},
		{"The last pattern that fits decides.", "*.js\n!keep.js\n/keep.js", "a.js keep.js", "b/keep.js"},
		{"One character, or one of several.", "a?c\n[x-z]1\n[!x]2", "abc x1 y1 a2", "ac a/c w1 x2"},
		{"A backslash takes the meaning away.", "\\!a\n\\#b\nc\\*\nd\\ ", "!a #b c* d\u0020", "a b cd"},
		{"Comments and blanks count for nothing.", "# a\n\n   \nb   ", "b", "a #"},
		{"Other scripts are characters like any.", "ä?\n[é]", "äö é", "ä e"},
		{"Regular expressions mean nothing here.", "a.c\n(b)\n^d$", "a.c (b) ^d$", "abc b d"},
	}
	for _, tc := range cases {
		var g ignorer
		if err := g.add("x", tc.patterns); err != nil {
			t.Errorf("%s\nadd(%q): %v", tc.reason, tc.patterns, err)
		}
		check := func(names string, want bool) {
			for _, name := range strings.Split(names, " ") {
				if name == "d" && strings.Contains(tc.patterns, `d\ `) {
					name = "d "
				}
				clean := strings.TrimSuffix(name, "/")
				if got := g.ignores(clean, clean != name); clean != "" && got != want {
					t.Errorf("%s\n%q: ignores(%q) = %t, want %t", tc.reason, tc.patterns, name, got, want)
				}
			}
		}
		check(tc.ignored, true)
		check(tc.kept, false)
	}
	for _, bad := range []string{"/", "!", "[", "[]", "a[z-a]"} {
		if err := new(ignorer).add("x", bad); err == nil {
			t.Errorf("add(%q): no error; a pattern that fits nothing would go unnoticed", bad)
		}
	}
}
