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

// Read gives the events of a folder that the filter chooses, oldest first.
// A folder that is not there is fs.ErrNotExist.
// damaged counts lines that are no record, such as one that a crash cut off.
func Read(dir string, f Filter) (events []Event, damaged int, err error) {
	days, err := list(dir)
	if err != nil {
		return nil, 0, fmt.Errorf("read audit log: %w", err)
	}
	since := f.Since.UTC().Format(dayFormat)
	var all []Event
	for _, d := range days {
		if !f.Since.IsZero() && d < since {
			continue
		}
		more, bad, _, err := readFile(filepath.Join(dir, filePrefix+d+fileSuffix), 0)
		damaged += bad
		if err != nil {
			return nil, damaged, err
		}
		all = append(all, more...)
	}
	ended := map[string]bool{}
	if !f.Decisions {
		for i := range all {
			if all[i].Type == Terminal.String() {
				ended[all[i].RequestID] = true
			}
		}
	}
	for _, e := range all {
		if e.Type == Decision.String() && ended[e.RequestID] || !f.match(&e) {
			continue
		}
		events = append(events, e)
	}
	if f.Limit > 0 && len(events) > f.Limit {
		events = events[len(events)-f.Limit:]
	}
	return events, damaged, nil
}

// readFile reads whole lines from an offset on and gives where the next begins.
func readFile(name string, from int64) (events []Event, damaged int, next int64, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, from, fmt.Errorf("read audit log: %w", err)
	}
	defer func() { _ = file.Close() }() // opened for reading
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return nil, 0, from, fmt.Errorf("read audit log: %w", err)
	}
	r := bufio.NewReaderSize(file, 64<<10)
	next = from
	for {
		line, err := r.ReadBytes('\n')
		if err != nil { // the rest has no end yet
			if !errors.Is(err, io.EOF) {
				return events, damaged, next, fmt.Errorf("read audit log: %w", err)
			}
			return events, damaged, next, nil
		}
		next += int64(len(line))
		line = bytes.TrimSuffix(line, []byte{'\n'})
		var e Event
		if len(line) == 0 {
			continue
		}
		if len(line) > maxLine || json.Unmarshal(line, &e) != nil || e.ID == "" {
			damaged++
			continue
		}
		e.Raw = slices.Clone(line)
		events = append(events, e)
	}
}

// Follower reads what is added to a folder.
type Follower struct {
	dir string
	day string
	at  int64
}

// Follow begins behind what the folder holds now.
func Follow(dir string) (*Follower, error) {
	f := &Follower{dir: dir}
	days, err := list(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	if len(days) == 0 {
		return f, nil
	}
	f.day = days[len(days)-1]
	info, err := os.Stat(filepath.Join(dir, filePrefix+f.day+fileSuffix))
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	f.at = info.Size()
	return f, nil
}

// Next gives the events that came since, oldest first; none is no error.
func (f *Follower) Next(flt Filter) ([]Event, error) {
	days, err := list(f.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	var out []Event
	for _, d := range days {
		if d < f.day {
			continue
		}
		if d != f.day {
			f.day, f.at = d, 0
		}
		events, _, next, err := readFile(filepath.Join(f.dir, filePrefix+d+fileSuffix), f.at)
		if err != nil {
			return out, err
		}
		f.at = next
		for _, e := range events {
			if (flt.Decisions || e.Type == Terminal.String()) && flt.match(&e) {
				out = append(out, e)
			}
		}
	}
	return out, nil
}
