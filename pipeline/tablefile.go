package pipeline

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/keeptrusts/kt/pipeline/scan"
)

// ClassTables is what a compiled pack keeps in its table file for one class:
// the engine's tables, and the effect of every rule.
type ClassTables struct {
	Tables  *scan.Tables
	Effects []Effect
}

// tableMagic starts a table file; the digit is the format version.
const tableMagic = "ktpack1\n"

// effectBytes is the size of one effect in a table file.
const effectBytes = 12

// AppendTableFile appends the table file of a compiled pack to dst. Equal
// classes give equal bytes.
func AppendTableFile(dst []byte, classes []ClassTables) []byte {
	dst = append(dst, tableMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(classes)))
	for _, c := range classes {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(c.Effects)))
		for i := range c.Effects {
			e := &c.Effects[i]
			dst = binary.LittleEndian.AppendUint16(dst, e.Entity)
			dst = binary.LittleEndian.AppendUint16(dst, e.Marker)
			dst = append(dst, e.Policy, byte(e.Action), e.Scorer, e.Group)
			dst = binary.LittleEndian.AppendUint32(dst, uint32(e.Weight))
		}
		at := len(dst)
		dst = c.Tables.AppendBinary(binary.LittleEndian.AppendUint32(dst, 0))
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	return dst
}

// OpenTableFile reads a table file of n classes and checks it against its
// SHA-256. file is not retained.
func OpenTableFile(file []byte, digest string, n int) ([]ClassTables, error) {
	sum := make(chan [sha256.Size]byte, 1)
	go func() { sum <- sha256.Sum256(file) }() // beside the reading, which trusts nothing: a start waits for both
	out, err := readTableFile(file, n)
	if got := <-sum; hex.EncodeToString(got[:]) != digest {
		return nil, fmt.Errorf("open table file: its SHA-256 is not %s: generate the pack again (kt gen)", digest)
	}
	return out, err
}

func readTableFile(b []byte, n int) ([]ClassTables, error) {
	if len(b) < len(tableMagic) || string(b[:len(tableMagic)]) != tableMagic {
		return nil, fmt.Errorf("open table file: not a file of format %q: generate the pack again (kt gen)", tableMagic)
	}
	b = b[len(tableMagic):]
	take := func(n uint32) []byte {
		if uint64(n) > uint64(len(b)) {
			b = nil
			return nil
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	number := func() uint32 {
		if p := take(4); p != nil {
			return binary.LittleEndian.Uint32(p)
		}
		return 0
	}
	if got := number(); got != uint32(n) {
		return nil, fmt.Errorf("open table file: %d classes, want %d", got, n)
	}
	out := make([]ClassTables, n)
	var tables []*scan.Tables
	for i := range out {
		count := number()
		if count > scan.MaxRules {
			return nil, fmt.Errorf("open table file: class %d has %d effects, at most %d", i, count, scan.MaxRules)
		}
		p := take(count * effectBytes)
		if p == nil && count > 0 {
			return nil, fmt.Errorf("open table file: class %d is cut", i)
		}
		effects := make([]Effect, count)
		for j := range effects {
			q := p[j*effectBytes:]
			effects[j] = Effect{
				Entity: binary.LittleEndian.Uint16(q), Marker: binary.LittleEndian.Uint16(q[2:]),
				Policy: q[4], Action: Action(q[5]), Scorer: q[6], Group: q[7], Weight: int32(binary.LittleEndian.Uint32(q[8:])),
			}
		}
		t, err := scan.Load(take(number()), tables...)
		if err != nil {
			return nil, fmt.Errorf("open table file: class %d: %w", i, err)
		}
		if t.NumRules() != len(effects) {
			return nil, fmt.Errorf("open table file: class %d has %d rules and %d effects", i, t.NumRules(), len(effects))
		}
		tables = append(tables, t)
		out[i] = ClassTables{Tables: t, Effects: effects}
	}
	return out, nil
}

// EntityNames gives entities of one policy with one reason code; compiled
// packs list theirs so.
func EntityNames(policy uint8, reason string, hidden bool, names ...string) []EntityInfo {
	out := make([]EntityInfo, len(names))
	for i, n := range names {
		out[i] = EntityInfo{Name: n, Reason: reason, Policy: policy, Hidden: hidden}
	}
	return out
}
