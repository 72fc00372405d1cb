package chaincode

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// compress makes a gzip file of data. The id of a source package is the hash of its bytes
// and is stored in ledgers, so the same source must give the same bytes for ever; the
// standard library's compressor promises no such thing, and changes. This one may not. It
// knows only Deflate's fixed codes (RFC 1951, 3.2.6), which halves its code and makes
// packages of Go source about a sixth larger.
func compress(data []byte) []byte {
	// No time, no name, and "unknown" for the system (RFC 1952).
	w := bitWriter{out: append(make([]byte, 0, len(data)/3+64), 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff)}
	deflate(&w, data)
	w.align()
	w.out = binary.LittleEndian.AppendUint32(w.out, crc32.ChecksumIEEE(data))
	return binary.LittleEndian.AppendUint32(w.out, uint32(len(data))) //nolint:gosec // the format asks for the size modulo 2^32
}

const (
	window   = 1 << 15
	maxBlock = 1<<16 - 1 // what a stored block can hold
	minMatch = 4         // three bytes are allowed, and seldom worth their distance
	maxMatch = 258
	maxChain = 48 // candidates that are tried for a match
	hashBits = 16
)

// deflate writes data block by block, stored where compression would make it larger.
func deflate(w *bitWriter, data []byte) {
	m := matcher{data: data, head: make([]int32, 1<<hashBits), prev: make([]int32, window)}
	for start := 0; ; {
		end := min(start+maxBlock, len(data))
		last := uint32(0)
		if end == len(data) {
			last = 1
		}
		before := *w
		w.bits(last, 1)
		w.bits(1, 2)
		m.block(w, start, end)
		w.literal(256)
		if len(w.out)-len(before.out) > end-start+5 {
			*w = before
			w.bits(last, 1)
			w.bits(0, 2)
			w.align()
			n := uint16(end - start) //nolint:gosec // at most maxBlock
			w.out = binary.LittleEndian.AppendUint16(w.out, n)
			w.out = binary.LittleEndian.AppendUint16(w.out, ^n)
			w.out = append(w.out, data[start:end]...)
		}
		if start = end; last == 1 {
			return
		}
	}
}

// matcher finds what stood in the data before.
type matcher struct {
	data []byte
	head []int32 // by hash of four bytes, the last place they were at, plus one
	prev []int32 // by place, the place before with the same hash, plus one
}

func (m *matcher) block(w *bitWriter, start, end int) {
	for at := start; at < end; {
		length, distance := m.find(at, end)
		if length < minMatch {
			w.literal(uint32(m.data[at]))
			m.add(at)
			at++
			continue
		}
		w.match(length, distance)
		for ; length > 0; length-- {
			m.add(at)
			at++
		}
	}
}

func (m *matcher) hash(at int) uint32 {
	return binary.LittleEndian.Uint32(m.data[at:]) * 2654435761 >> (32 - hashBits)
}

func (m *matcher) add(at int) {
	if at+minMatch > len(m.data) {
		return
	}
	h := m.hash(at)
	m.prev[at%window] = m.head[h]
	m.head[h] = int32(at) + 1 //nolint:gosec // a source tree is smaller than 2 GiB
}

// find gives the longest match of what stands at a place, the nearest of equals.
func (m *matcher) find(at, end int) (length, distance int) {
	most := min(end-at, maxMatch)
	if most < minMatch {
		return 0, 0
	}
	candidate := int(m.head[m.hash(at)]) - 1
	for tries := 0; tries < maxChain && candidate >= 0 && at-candidate <= window; tries++ {
		n := 0
		for n < most && m.data[candidate+n] == m.data[at+n] {
			n++
		}
		if n > length {
			length, distance = n, at-candidate
		}
		next := int(m.prev[candidate%window]) - 1
		if length == most || next >= candidate {
			break
		}
		candidate = next
	}
	return length, distance
}

// bitWriter writes bits as Deflate packs them.
type bitWriter struct {
	out  []byte
	acc  uint64
	used uint
}

// bits writes the n low bits of v, the lowest first.
func (w *bitWriter) bits(v uint32, n uint) {
	w.acc |= uint64(v) << w.used
	w.used += n
	for w.used >= 8 {
		w.out = append(w.out, byte(w.acc))
		w.acc >>= 8
		w.used -= 8
	}
}

// code writes a Huffman code, which comes with its highest bit first.
func (w *bitWriter) code(v uint32, n uint) { w.bits(bits.Reverse32(v)>>(32-n), n) }

// align fills up the last byte.
func (w *bitWriter) align() {
	if w.used > 0 {
		w.out = append(w.out, byte(w.acc))
		w.acc, w.used = 0, 0
	}
}

// literal writes one of the symbols 0 to 287 in the fixed code.
func (w *bitWriter) literal(symbol uint32) {
	switch {
	case symbol < 144:
		w.code(0x30+symbol, 8)
	case symbol < 256:
		w.code(0x190+symbol-144, 9)
	case symbol < 280:
		w.code(symbol-256, 7)
	default:
		w.code(0xC0+symbol-280, 8)
	}
}

// match writes a length and how far back to copy from (RFC 1951, 3.2.5).
func (w *bitWriter) match(length, distance int) {
	switch l := uint32(length - 3); { //nolint:gosec // from 1 to 255
	case length == maxMatch:
		w.literal(285)
	case l < 8:
		w.literal(257 + l)
	default:
		n := uint(bits.Len32(l)) - 1
		w.literal(257 + 4*uint32(n-1) + l>>(n-2)&3)
		w.bits(l&(1<<(n-2)-1), n-2)
	}
	d := uint32(distance - 1) //nolint:gosec // below window
	if d < 4 {
		w.code(d, 5)
		return
	}
	n := uint(bits.Len32(d)) - 1
	w.code(2*uint32(n)+d>>(n-1)&1, 5)
	w.bits(d&(1<<(n-1)-1), n-1)
}
