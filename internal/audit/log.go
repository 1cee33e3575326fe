// Package audit keeps records of what the gateway decided: JSON lines in one
// file a day. A record is in the file when the call that wrote it returns, so
// a killed process loses nothing; the disk has it at most 100 ms later, so a
// power cut loses at most that. No record holds prompt text, a matched value or
// a key.
//
// Cost per record: one append to a buffer; records that come at the same time
// leave in one write.
package audit

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keeptrusts/kt/internal/buf"
)

const (
	// DefaultRetentionDays is how long files are kept where no audit-logger says otherwise.
	DefaultRetentionDays = 365
	// syncEvery is the longest time that a record waits for the disk, half of what is promised.
	syncEvery = 50 * time.Millisecond
	// sweepEvery is how often old files are looked for.
	sweepEvery = time.Hour
	// lookEvery is how often a write looks whether the file is still under its
	// name, which costs a third of a write: so long records may go on into a file
	// that somebody moved or deleted.
	lookEvery = 10 * time.Millisecond

	filePrefix = "audit-"
	fileSuffix = ".jsonl"
	dayFormat  = "2006-01-02"
)

// Options of a log.
type Options struct {
	Dir           string           // made when missing, mode 0700
	RetentionDays int              // 0: DefaultRetentionDays
	Immutable     bool             // files of past days are made read-only, those of earlier processes too
	Now           func() time.Time // nil: time.Now
	Failed        func(error)      // called for every write, sync or deletion that failed, and when the file in use was moved or deleted; nil: nothing
}

// Log writes records. It is safe for concurrent use.
type Log struct {
	o Options

	mu      sync.Mutex
	cond    sync.Cond
	next    *batch // what the next write takes
	writing bool
	spare   []byte
	held    *os.File // the lock of the folder; nil: the system has none
	f       *os.File
	id      fs.FileInfo // of f, when it was opened
	looked  time.Time   // when f was last known to be under its name; the writer's
	from    time.Time   // of the file: midnight, UTC
	until   time.Time   // the next one
	old     []*os.File  // to be synced and closed by the owner
	torn    bool        // the file may end within a line
	dirty   bool
	since   time.Time // of the oldest record that no sync has begun for
	syncing time.Time // of the oldest record of the sync that runs; zero when none does
	closed  bool
	stats   Stats

	wake chan struct{}
	done chan struct{}
	wg   sync.WaitGroup
}

// Stats are totals since Open.
type Stats struct {
	Records, Failed int64 // records written, and lost
	Bytes           int64
	Writes, Syncs   int64
	Deleted         int64 // files past their retention
	Reopened        int64 // files begun because the one in use was moved or deleted by somebody else

	Lag time.Duration // now: age of the oldest record that the disk does not have; 0 when it has all
}

// batch is what one write takes; its writers wait for done.
type batch struct {
	b    []byte
	n    int64
	done bool
	err  error
}

// ErrClosed refuses a record after Close.
var ErrClosed = errors.New("write audit record: the log is closed")

// Open makes a log ready: the folder is there and can be written to. The caller
// owns it until Close.
func Open(o Options) (*Log, error) {
	if o.Dir == "" {
		return nil, errors.New("open audit log: no folder is given")
	}
	if o.RetentionDays <= 0 {
		o.RetentionDays = DefaultRetentionDays
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Failed == nil {
		o.Failed = func(error) {}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	held, err := lock(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l := &Log{o: o, held: held, next: &batch{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	l.cond.L = &l.mu
	if err := l.rotate(o.Now()); err != nil {
		l.unlock()
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	l.wg.Go(l.own)
	return l, nil
}

// ErrInUse is what Open gives for a folder that another process, or another Log of this one, writes to: two would
// delete and seal each other's files.
var ErrInUse = errors.New("another gateway writes to this folder")

// lockFile is the name of the file in a folder that says that it is in use.
const lockFile = ".lock"

func (l *Log) unlock() {
	if l.held != nil {
		_ = l.held.Close() // nothing was written
	}
}

// Dir is the folder of the files.
func (l *Log) Dir() string { return l.o.Dir }

// Stats gives the totals of now.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	switch {
	case !l.syncing.IsZero():
		s.Lag = max(0, l.o.Now().Sub(l.syncing))
	case l.dirty:
		s.Lag = max(0, l.o.Now().Sub(l.since))
	}
	return s
}

// Write puts the record into the file and returns when it is there.
func (l *Log) Write(r *Record) error {
	b := buf.Get(2048)
	b.B = appendRecord(b.B, newID(), r)
	err := l.write(b.B)
	buf.Put(b)
	return err
}

func newID() string {
	var raw [12]byte
	_, _ = rand.Read(raw[:]) // never fails (crypto/rand since Go 1.24)
	var out [28]byte
	copy(out[:], "evt_")
	hex.Encode(out[4:], raw[:])
	return string(out[:])
}

// write joins the next batch. Whoever finds nobody writing writes for all.
func (l *Log) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		l.stats.Failed++
		return ErrClosed
	}
	w := l.next
	w.b = append(w.b, line...)
	w.n++
	for !w.done {
		if l.writing {
			l.cond.Wait()
			continue
		}
		l.writing = true
		l.next = &batch{b: l.spare[:0]}
		l.spare = nil
		l.mu.Unlock()
		wrote, torn, err := l.put(w.b)
		l.mu.Lock()
		l.writing = false
		w.done, w.err, l.spare = true, err, w.b[:0]
		if cap(w.b) > 1<<20 {
			l.spare = nil
		}
		l.torn = torn
		l.stats.Bytes += int64(wrote)
		l.stats.Writes++
		if err != nil {
			l.stats.Failed += w.n
		} else {
			l.stats.Records += w.n
		}
		if !l.dirty {
			l.dirty, l.since = true, l.o.Now()
		}
		l.cond.Broadcast()
	}
	if w.err != nil {
		return w.err
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// put writes to the file of today. Only one goroutine is in it at a time.
func (l *Log) put(p []byte) (n int, torn bool, err error) {
	now := l.o.Now()
	gone := false
	if since := now.Sub(l.looked); since >= lookEvery || since < 0 {
		if gone = l.gone(); !gone {
			l.looked = now
		}
	}
	if gone || now.Before(l.from) || !now.Before(l.until) {
		name := l.f.Name()
		if err := l.rotate(now); err != nil {
			l.o.Failed(err)
			return 0, false, fmt.Errorf("write audit record: %w", err)
		}
		if gone {
			l.mu.Lock()
			l.stats.Reopened++
			l.mu.Unlock()
			l.o.Failed(fmt.Errorf("audit file %s was moved or deleted while it was in use: records go on in a new one", name))
		}
	}
	if l.torn {
		if _, err = l.f.Write([]byte{'\n'}); err != nil {
			l.o.Failed(err)
			return 0, true, fmt.Errorf("write audit record: %w", err)
		}
	}
	if n, err = l.f.Write(p); err != nil {
		l.o.Failed(err)
		return n, n > 0 && p[n-1] != '\n', fmt.Errorf("write audit record: %w", err)
	}
	return n, false, nil
}

// gone tells that the name of the file in use stands for another file, or none.
// Where that cannot be told, it does not: the open file is the best there is.
func (l *Log) gone() bool {
	now, err := os.Stat(l.f.Name())
	return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, l.id)
}

// openDay opens a day's file for appending, whatever happened to it or to the
// folder since the log was opened.
func (l *Log) openDay(now time.Time) (*os.File, error) {
	name := filepath.Join(l.o.Dir, filePrefix+now.UTC().Format(dayFormat)+fileSuffix)
	open := func() (*os.File, error) { return os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600) }
	f, err := open()
	switch {
	case errors.Is(err, fs.ErrNotExist): // the folder is gone
		if err = os.MkdirAll(l.o.Dir, 0o700); err == nil {
			f, err = open()
		}
	case errors.Is(err, fs.ErrPermission): // the clock went back to a day whose file is read-only already
		if os.Chmod(name, 0o600) == nil { // else err says what is wrong
			f, err = open()
		}
	}
	return f, err
}

// rotate opens the file of the day; the one before goes to the owner.
func (l *Log) rotate(now time.Time) error {
	f, err := l.openDay(now)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	torn := false
	if info.Size() > 0 {
		var last [1]byte
		if _, err := f.ReadAt(last[:], info.Size()-1); err == nil {
			torn = last[0] != '\n'
		}
	}
	l.mu.Lock()
	if l.f != nil {
		l.old = append(l.old, l.f)
	}
	l.f, l.id, l.looked, l.torn = f, info, now, torn
	l.from = now.UTC().Truncate(24 * time.Hour)
	l.until = l.from.Add(24 * time.Hour)
	l.mu.Unlock()
	return nil
}

// own syncs what was written, closes files of past days and deletes those past
// their retention.
func (l *Log) own() {
	l.sweep()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-sweep.C:
			l.sweep()
		case <-l.wake:
			t := time.NewTimer(syncEvery)
			select {
			case <-t.C:
			case <-l.done:
				t.Stop()
				return
			}
			l.sync()
		}
	}
}

func (l *Log) sync() {
	l.mu.Lock()
	f, old, dirty := l.f, l.old, l.dirty
	l.old, l.dirty = nil, false
	if dirty {
		l.syncing = l.since
	}
	l.mu.Unlock()
	for _, o := range old {
		if err := o.Sync(); err != nil {
			l.o.Failed(fmt.Errorf("sync audit log: %w", err))
		}
		if err := o.Close(); err != nil {
			l.o.Failed(fmt.Errorf("close audit log: %w", err))
		}
	}
	if len(old) > 0 {
		l.sweep()
	}
	if !dirty {
		return
	}
	err := f.Sync()
	l.mu.Lock()
	l.stats.Syncs++
	l.syncing = time.Time{}
	l.mu.Unlock()
	if err != nil {
		l.o.Failed(fmt.Errorf("sync audit log: %w", err))
	}
}

// sweep deletes files older than the retention: a file is kept for
// RetentionDays whole days after its own. With Immutable it makes the others of
// past days read-only, whichever process wrote them.
func (l *Log) sweep() {
	days, err := list(l.o.Dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // the next write makes the folder anew, and says so
			l.o.Failed(fmt.Errorf("delete old audit files: %w", err))
		}
		return
	}
	first := l.o.Now().UTC().AddDate(0, 0, -l.o.RetentionDays).Format(dayFormat)
	l.mu.Lock()
	today := l.from.Format(dayFormat)
	l.mu.Unlock()
	for _, d := range days {
		if d >= first {
			if l.o.Immutable && d < today {
				if err := seal(filepath.Join(l.o.Dir, filePrefix+d+fileSuffix)); err != nil {
					l.o.Failed(fmt.Errorf("make audit file read-only: %w", err))
				}
			}
			continue
		}
		if err := os.Remove(filepath.Join(l.o.Dir, filePrefix+d+fileSuffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.o.Failed(fmt.Errorf("delete old audit file: %w", err))
			continue
		}
		l.mu.Lock()
		l.stats.Deleted++
		l.mu.Unlock()
	}
}

// seal takes the right to write to a file from everybody. Who may read it stays.
func seal(name string) error {
	info, err := os.Stat(name)
	if err == nil && info.Mode().Perm()&0o222 != 0 {
		err = os.Chmod(name, info.Mode().Perm()&^0o222)
	}
	if errors.Is(err, fs.ErrNotExist) { // moved away since the folder was read
		return nil
	}
	return err
}

// list gives the days that have a file, oldest first.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var days []string
	for _, e := range entries {
		d, ok := strings.CutPrefix(e.Name(), filePrefix)
		if !ok {
			continue
		}
		if d, ok = strings.CutSuffix(d, fileSuffix); !ok {
			continue
		}
		if _, err := time.Parse(dayFormat, d); err == nil && e.Type().IsRegular() {
			days = append(days, d)
		}
	}
	slices.Sort(days)
	return days, nil
}

// Close writes everything to the disk and ends the log.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	for l.writing || l.next.n > 0 {
		l.cond.Wait()
	}
	l.mu.Unlock()
	close(l.done)
	l.wg.Wait()
	l.sync()
	defer l.unlock()
	if err := l.f.Close(); err != nil {
		return fmt.Errorf("close audit log: %w", err)
	}
	return nil
}
