package publish

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// The exploration takes the real code for what it is between two bucket calls: a function of the answers it got so far. So a node is
// a publisher at a bucket call, reached by a history of answers, and what the code does with one more answer is found out once, by
// running it, and remembered. The interleavings of several publishers are then walked without running the code again.

// program is what one publisher does.
type program struct {
	name    string
	do      func(context.Context, *Publisher) (Receipt, error)
	seq     int64  // of the snapshot it brings, if it does
	revokes string // the key that stays out after success, if it does
}

// slot is where an object is kept; version 0 is absent.
type slot struct{ object, version uint16 }

// The slots of a world; log record n is in recordSlot+n.
const (
	stateSlot = iota
	jwksSlot
	discoverySlot
	recordSlot = 2
	slots      = 12
	targetSlot = slots - 1 // of the last, which no scenario needs for a record
)

type call struct {
	put    bool
	slot   int
	object uint16
	seen   uint16
}

// answer is what a bucket call returned.
type answer struct {
	slot
	failed failure
}

type failure uint8

const (
	fine failure = iota
	notFound
	conflict
	unclear
)

var errUnclear = errors.New("connection reset")

func (f failure) err() error {
	return [...]error{nil, bucket.ErrNotFound, bucket.ErrConflict, errUnclear}[f]
}

// node is a publisher at a call, or at its end.
type node struct {
	program  int
	parent   int32
	answer   answer // by which it came here from parent
	next     call
	ended    bool
	crashed  bool
	receipt  Receipt
	err      error
	events   uint64 // those logged so far, see explorer.events
	read     uint16 // the last state it read
	children map[answer]int32
}

func (n *node) running() bool { return !n.ended && !n.crashed }

// process is the running code of a program, stopped at a bucket call.
type process struct {
	at      int32
	resume  func() (call, bool)
	stop    func()
	answer  answer
	events  uint64
	receipt Receipt
	err     error
}

// store is both buckets of a publisher; mutants wrap it.
type store interface {
	get(private bool, name string) (bucket.Object, bucket.Version, error)
	put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error)
}

// door is one bucket of a store.
type door struct {
	store
	private bool
}

func (d door) Get(_ context.Context, name string) (bucket.Object, bucket.Version, error) {
	return d.get(d.private, name)
}

func (d door) Put(_ context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	return d.put(d.private, name, object, seen)
}

// yielding is the store of a process: every call stops it until somebody has the answer.
type yielding struct {
	*explorer
	*process
	yield func(call) bool
}

type stopped struct{}

func (y yielding) ask(c call) answer {
	if !y.yield(c) {
		panic(stopped{})
	}
	return y.process.answer
}

func (y yielding) get(_ bool, name string) (bucket.Object, bucket.Version, error) {
	a := y.ask(call{slot: y.slotOf(name)})
	if a.failed != fine {
		return bucket.Object{}, bucket.Absent, a.failed.err()
	}
	return y.objects[a.object], versionOf(a.version), nil
}

func (y yielding) put(_ bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	a := y.ask(call{put: true, slot: y.slotOf(name), object: y.intern(object), seen: numberOf(seen)})
	return versionOf(a.version), a.failed.err()
}

func versionOf(number uint16) bucket.Version {
	if number == 0 {
		return bucket.Absent
	}
	return bucket.Version(fmt.Sprint("v", number))
}

func numberOf(version bucket.Version) (number uint16) {
	if version != bucket.Absent {
		if _, err := fmt.Sscanf(string(version), "v%d", &number); err != nil {
			panic(err)
		}
	}
	return number
}

// launch starts a program and stops it at its first call.
func (e *explorer) launch(p int) *process {
	proc := &process{at: -1}
	proc.resume, proc.stop = iter.Pull(func(yield func(call) bool) {
		defer func() {
			if r := recover(); r != nil && r != any(stopped{}) {
				panic(r)
			}
		}()
		publisher := e.newPublisher(yielding{e, proc, yield}, proc)
		proc.receipt, proc.err = e.programs[p].do(context.Background(), publisher)
	})
	return proc
}

func (e *explorer) newPublisher(s store, proc *process) *Publisher {
	logger := slog.Handler(eventSink{e, proc})
	if e.mutant.store != nil {
		s = e.mutant.store(s, e.names)
	}
	if e.mutant.logger != nil {
		logger = e.mutant.logger(logger, s)
	}
	p, err := New(Config{
		Settings: e.settings, Documents: door{s, false}, Private: door{s, true}, Targets: e.targets(s),
		Logger: slog.New(logger), Now: func() time.Time { return e.now },
	})
	if err != nil {
		panic(err)
	}
	p.pause = func(int) time.Duration { return 0 }
	p.readBack = func(context.Context, *issuer) {} // has no effect on what is stored
	return p
}

// root is a program before its first call.
func (e *explorer) root(p int) int32 {
	if e.roots[p] == 0 {
		e.roots[p] = e.advance(p, e.launch(p), node{program: p, parent: -1})
	}
	return e.roots[p]
}

// follow is where a node gets to with an answer.
func (e *explorer) follow(at int32, a answer) int32 {
	if child, ok := e.nodes[at].children[a]; ok {
		return child
	}
	p := e.nodes[at].program
	proc := e.live[p]
	if proc == nil || proc.at != at {
		if proc != nil {
			proc.stop()
		}
		proc = e.replay(at)
	}
	child := node{program: p, parent: at, read: e.nodes[at].read}
	child.answer, proc.answer = a, a
	if c := e.nodes[at].next; c.slot == stateSlot && !c.put && a.failed == fine {
		child.read = a.object
	}
	id := e.advance(p, proc, child)
	e.nodes[at].children[a] = id
	return id
}

// replay runs a program again up to a node, and makes sure that it does again what it did.
func (e *explorer) replay(at int32) *process {
	var path []int32
	for n := at; n >= 0; n = e.nodes[n].parent {
		path = append(path, n)
	}
	proc := e.launch(e.nodes[at].program)
	for i := len(path) - 1; i >= 0; i-- {
		proc.answer = e.nodes[path[i]].answer
		if c, ok := proc.resume(); !ok || c != e.nodes[path[i]].next {
			panic(fmt.Sprintf("%s does not do the same again", e.programs[e.nodes[at].program].name))
		}
	}
	return proc
}

// advance lets a process go on to its next call, and adds the node where it stops.
func (e *explorer) advance(p int, proc *process, n node) int32 {
	c, running := proc.resume()
	n.next, n.ended, n.events = c, !running, proc.events
	if running {
		n.children = map[answer]int32{}
	} else {
		n.receipt, n.err = proc.receipt, proc.err
	}
	id := e.add(n)
	proc.at, e.live[p] = id, proc
	if !running {
		e.live[p] = nil
	}
	return id
}

// add keeps one node for all ends, and one for all crashes, that can't be told apart.
func (e *explorer) add(n node) int32 {
	var key string
	if !n.running() {
		key = fmt.Sprint(n.program, n.crashed, n.receipt, n.err, n.events, n.read)
		if id, ok := e.ends[key]; ok {
			return id
		}
	}
	id := int32(len(e.nodes))
	e.nodes = append(e.nodes, n)
	if key != "" {
		e.ends[key] = id
	}
	return id
}

// eventSink notes which changes were logged.
type eventSink struct {
	*explorer
	*process
}

func (eventSink) Enabled(context.Context, slog.Level) bool { return true }
func (s eventSink) WithAttrs([]slog.Attr) slog.Handler     { return s }
func (s eventSink) WithGroup(string) slog.Handler          { return s }

func (s eventSink) Handle(_ context.Context, r slog.Record) error {
	if event, ok := changeOf(r); ok {
		s.process.events |= s.bit(event)
	}
	return nil
}

// changeOf names the change that a line is about.
func changeOf(r slog.Record) (event string, ok bool) {
	var parts []string
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "event", "cluster", "keyID", "entry":
			parts = append(parts, a.Value.String())
		}
		return true
	})
	return strings.Join(parts, " "), len(parts) == 4
}
