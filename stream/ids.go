package stream

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// idKey makes what takes the place of an identifier: who does not have it cannot find the identifier by trying.
var idKey = sync.OnceValue(func() []byte {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails: see its documentation
	return key
})

// identifier makes one edit of those of an identifier, of a call for instance, whose value is text: all of it is
// replaced, by a word that is the same for the same value, in this process, and another for another. So a call and its
// result still belong together, and two calls stay two, which markers would not give.
func (c *core) identifier(ch *channel, text []byte) {
	if len(ch.edits) == 0 {
		return
	}
	mac := hmac.New(sha256.New, idKey())
	mac.Write(text)
	e := edit{end: int64(len(text)), first: int64(len(text)), policy: ch.edits[0].policy}
	e.repl.Start = int32(len(c.arena))
	c.arena = append(c.arena, "kt_redacted_"...) // letters, digits and underscores only: some APIs take no others
	c.arena = hex.AppendEncode(c.arena, mac.Sum(nil)[:8])
	e.repl.End = int32(len(c.arena))
	ch.edits = append(ch.edits[:0], e)
}
