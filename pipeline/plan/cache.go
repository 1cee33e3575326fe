package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/keeptrusts/kt/internal/diag"
	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/scan"
)

// cacheMagic starts a cache file; the digit is the format version.
const cacheMagic = "ktcache2"

// CachedEngine is Engine with the tables kept in dir between starts, in a file
// named by the plan's digest. A file that is missing, damaged or of another
// format is built and written anew; hit tells that it was not. err says that
// the file could not be written: the Engine is good all the same.
func (p *Plan) CachedEngine(dir string) (e *Engine, hit bool, diags diag.List, err error) {
	name := filepath.Join(dir, "tables-"+p.Info.Digest+".bin")
	if b, readErr := os.ReadFile(name); readErr == nil {
		if e := p.decode(b); e != nil {
			return e, true, nil, nil
		}
	}
	e, diags = p.Engine()
	if e == nil {
		return nil, false, diags, nil
	}
	if err := writeCache(dir, name, e); err != nil {
		return e, false, diags, fmt.Errorf("keep tables: %w", err)
	}
	return e, false, diags, nil
}

func writeCache(dir, name string, e *Engine) error {
	body, err := json.Marshal(e.Reports)
	if err != nil {
		return err
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	b = append(b, body...)
	for _, t := range e.Tables {
		at := len(b)
		b = binary.LittleEndian.AppendUint32(b, 0)
		if t != nil {
			b = t.AppendBinary(b)
			binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		}
	}
	sum := sha256.Sum256(b)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".tables-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(append([]byte(cacheMagic), sum[:]...), b...))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// decode reads a cache file, nil when it cannot be used.
func (p *Plan) decode(b []byte) *Engine {
	head := len(cacheMagic) + sha256.Size
	if len(b) < head || string(b[:len(cacheMagic)]) != cacheMagic {
		return nil
	}
	sum := sha256.Sum256(b[head:])
	if !bytes.Equal(sum[:], b[len(cacheMagic):head]) {
		return nil
	}
	b = b[head:]
	next := func() ([]byte, bool) {
		if len(b) < 4 {
			return nil, false
		}
		n := binary.LittleEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return nil, false
		}
		part := b[4 : 4+n]
		b = b[4+n:]
		return part, true
	}
	e := &Engine{}
	reports, ok := next()
	if !ok || json.Unmarshal(reports, &e.Reports) != nil {
		return nil
	}
	for c := range pipeline.NumClasses {
		part, ok := next()
		cl := p.Classes[c]
		switch {
		case !ok || (cl == nil) != (len(part) == 0):
			return nil
		case cl == nil:
			e.Reports[c] = nil
			continue
		}
		if before := p.sharedWith(int(c)); before >= 0 {
			e.Tables[c], e.Reports[c] = e.Tables[before], e.Reports[before]
			continue
		}
		t, err := scan.Load(part, e.loaded()...)
		if err != nil || t.NumRules() != len(cl.Spec.Rules) || e.Reports[c] == nil {
			return nil
		}
		e.Tables[c] = t
	}
	return e
}
