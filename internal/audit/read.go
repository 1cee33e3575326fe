package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Event is a record as it stands in a file.
type Event struct {
	ID        string    `json:"id"`
	Type      string    `json:"event_type"`
	Time      time.Time `json:"timestamp"`
	RequestID string    `json:"request_id"`
	Verdict   string    `json:"verdict"`
	Reason    string    `json:"reason_code"`
	Policy    string    `json:"policy"`
	Outcome   string    `json:"outcome"`
	Status    int       `json:"status"`
	Model     string    `json:"model"`
	Target    string    `json:"target"`
	LatencyMs float64   `json:"latency_ms"`

	Raw json.RawMessage `json:"-"` // the whole line
}

// Filter chooses events. Zero fields choose all.
type Filter struct {
	Since     time.Time
	Verdict   string // allow, block, redact, escalate
	Reason    string // reason code; "_" and "." are the same
	Policy    string // kind
	RequestID string
	Limit     int  // the newest so many; 0: all
	Decisions bool // the decision record of a request that has a terminal one as well
}

func (f *Filter) match(e *Event) bool {
	switch {
	case !f.Since.IsZero() && e.Time.Before(f.Since),
		f.Verdict != "" && e.Verdict != f.Verdict,
		f.Reason != "" && dotted(e.Reason) != dotted(f.Reason),
		f.Policy != "" && e.Policy != f.Policy,
		f.RequestID != "" && e.RequestID != f.RequestID:
		return false
	}
	return true
}

func dotted(s string) string { return string(bytes.ReplaceAll([]byte(s), []byte("_"), []byte("."))) }

// maxLine is the longest line that is read, in bytes; longer ones are damaged.
const maxLine = 1 << 20

// clockSlack is how far the times of records in a file may be out of order: a
// clock that was set back. What is older than Filter.Since by more ends the reading.
const clockSlack = time.Hour

// Read gives the events of a folder that the filter chooses, oldest first.
// A folder that is not there is fs.ErrNotExist. It reads from the newest record
// back, and no more than the filter's Limit and Since ask for.
// damaged counts lines that are no record, such as one that a crash cut off,
// among those that were read.
func Read(dir string, f Filter) (events []Event, damaged int, err error) {
	events, damaged, fl, err := Tail(dir, f)
	if fl != nil {
		fl.Close()
	}
	return events, damaged, err
}

// Tail is Read with a follower that gives what comes behind the last record
// that was there. The caller closes it.
func Tail(dir string, f Filter) (events []Event, damaged int, fl *Follower, err error) {
	days, err := list(dir)
	if err != nil {
		return nil, 0, nil, fmt.Errorf("read audit log: %w", err)
	}
	fl = &Follower{dir: dir}
	ended := map[string]bool{} // requests whose terminal record was met, and not their decision yet
	take := func(line []byte) (more bool) {
		var e Event
		if line == nil || json.Unmarshal(line, &e) != nil || e.ID == "" {
			damaged++
			return true
		}
		if !f.Since.IsZero() && !e.Time.IsZero() && e.Time.Before(f.Since.Add(-clockSlack)) {
			return false
		}
		if !f.Decisions {
			switch e.Type {
			case Terminal.String():
				ended[e.RequestID] = true
			case Decision.String():
				if ended[e.RequestID] {
					delete(ended, e.RequestID)
					return true
				}
			}
		}
		if f.match(&e) {
			e.Raw = slices.Clone(line)
			events = append(events, e)
		}
		return f.Limit <= 0 || len(events) < f.Limit
	}
	since := f.Since.UTC().Format(dayFormat)
	for i, more := len(days)-1, true; i >= 0 && more; i-- {
		if !f.Since.IsZero() && days[i] < since && fl.f != nil {
			break
		}
		file, err := os.Open(fl.path(days[i]))
		if errors.Is(err, fs.ErrNotExist) { // moved away since the folder was read
			continue
		}
		if err == nil {
			var whole int64
			whole, more, err = readBack(file, take)
			if fl.f == nil {
				fl.f, fl.day, fl.at = file, days[i], whole
			} else {
				_ = file.Close() // opened for reading
			}
		}
		if err != nil {
			fl.Close()
			return nil, damaged, nil, fmt.Errorf("read audit log: %w", err)
		}
	}
	slices.Reverse(events)
	return events, damaged, fl, nil
}

// readBack gives take the lines of a file, the last one first, until it wants no
// more; a line longer than maxLine is nil, an empty one is passed over. What
// stands behind the last end of a line is no line yet: whole is where it begins.
// line: valid during the call only.
func readBack(file *os.File, take func(line []byte) (more bool)) (whole int64, more bool, err error) {
	at, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, false, err
	}
	var (
		chunk = make([]byte, min(at, 64<<10))
		tail  []byte // of the line whose beginning was not read yet
		long  bool   // it is too long, and tail is given up
		ends  bool   // the end of a line was met
	)
	end := func(head []byte) bool {
		line := append(head[:len(head):len(head)], tail...)
		if long || len(line) > maxLine {
			line = nil
		} else if len(line) == 0 {
			return true
		}
		tail, long = tail[:0], false
		return take(line)
	}
	for at > 0 {
		b := chunk[:min(at, int64(len(chunk)))]
		at -= int64(len(b))
		if _, err := file.ReadAt(b, at); err != nil {
			if errors.Is(err, io.EOF) { // somebody cut the file meanwhile
				return 0, false, nil
			}
			return 0, false, err
		}
		for {
			i := bytes.LastIndexByte(b, '\n')
			if i < 0 {
				break
			}
			if !ends {
				ends, whole = true, at+int64(i)+1
			} else if !end(b[i+1:]) {
				return whole, false, nil
			}
			b = b[:i]
		}
		switch {
		case !ends:
		case long || len(b)+len(tail) > maxLine:
			tail, long = tail[:0], true
		default:
			tail = append(slices.Clone(b), tail...)
		}
	}
	return whole, !ends || end(nil), nil
}

// readOn reads whole lines from an offset on and gives where the next begins.
func readOn(file *os.File, from int64) (events []Event, next int64, err error) {
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return nil, from, err
	}
	r := bufio.NewReaderSize(file, 64<<10)
	next = from
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) { // the rest has no end yet
			return events, next, nil
		}
		if err != nil {
			return events, next, err
		}
		next += int64(len(line))
		line = bytes.TrimSuffix(line, []byte{'\n'})
		var e Event
		if len(line) > maxLine || json.Unmarshal(line, &e) != nil || e.ID == "" {
			continue
		}
		e.Raw = line
		events = append(events, e)
	}
}

// Follower reads what is added to a folder.
type Follower struct {
	dir string
	day string   // of f
	f   *os.File // nil: there was none yet
	at  int64
}

func (f *Follower) path(day string) string { return filepath.Join(f.dir, filePrefix+day+fileSuffix) }

// Close lets go of the file that is followed.
func (f *Follower) Close() {
	if f.f != nil {
		_ = f.f.Close() // opened for reading
		f.f = nil
	}
}

// Next gives the events that came since, oldest first; none is no error. A file
// that was moved or deleted is read to its end, then the one that took its name.
func (f *Follower) Next(flt Filter) ([]Event, error) {
	var out []Event
	for {
		// First what comes next, then the rest of this one: nothing is written to a
		// file any more once another took its place.
		next, err := f.next()
		if err != nil {
			return out, fmt.Errorf("read audit log: %w", err)
		}
		if f.f != nil {
			if info, err := f.f.Stat(); err == nil && info.Size() < f.at { // cut by whoever copied it away
				f.at = 0
			}
			var events []Event
			if events, f.at, err = readOn(f.f, f.at); err != nil {
				return out, fmt.Errorf("read audit log: %w", err)
			}
			for _, e := range events {
				if (flt.Decisions || e.Type == Terminal.String()) && flt.match(&e) {
					out = append(out, e)
				}
			}
		}
		if next == "" {
			return out, nil
		}
		file, err := os.Open(f.path(next))
		if errors.Is(err, fs.ErrNotExist) { // gone again
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("read audit log: %w", err)
		}
		f.Close()
		f.f, f.day, f.at = file, next, 0
	}
}

// next is the day of the file to go on with, empty for the one that is open.
func (f *Follower) next() (string, error) {
	days, err := list(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	for _, d := range days {
		if d > f.day {
			return d, nil
		}
		if d < f.day {
			continue
		}
		now, err := os.Stat(f.path(d))
		if err != nil {
			continue // gone, or not to be told: the open one stays
		}
		if open, err := f.f.Stat(); err == nil && !os.SameFile(now, open) {
			return d, nil
		}
	}
	return "", nil
}
