package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
)

type names = Objects

// world is everything that decides what can happen from here on.
type world struct {
	slots     [slots]slot
	at        [4]int32 // nodes of the publishers; the last is of one that runs alone
	published uint8    // keys that were ever in the JWKS
	crashes   int8     // that may still happen
	lost      int8     // answers that may still get lost
}

// explorer walks the worlds that come of a scenario.
type explorer struct {
	kind     memory.Versions
	settings enrollment.Publisher
	now      time.Time
	mutant   mutant
	programs []program // the scenario's, then setup's, then the last reconcile
	names    names
	racing   int      // how many are the scenario's
	target   bool     // there is one
	keys     []string // key IDs, by their bit in world.published

	nodes   []node
	roots   []int32
	live    []*process
	ends    map[string]int32
	memo    map[world]float64
	objects []bucket.Object
	ids     map[string]uint16
	facts   []fact
	bits    map[string]int
	before  uint64 // events logged before the race
	sound   bool   // nothing fails
}

const alone = 3

func newExplorer(kind memory.Versions, s scenario, m mutant) *explorer {
	iss, err := newIssuer(s.settings.Issuers[0])
	if err != nil {
		panic(err)
	}
	e := &explorer{
		kind: kind, settings: s.settings, now: s.now, mutant: m, keys: s.keys, racing: len(s.racing), target: s.target, names: iss.names,
		nodes: make([]node, 1), ends: map[string]int32{}, memo: map[world]float64{},
		objects: make([]bucket.Object, 1), ids: map[string]uint16{}, facts: make([]fact, 1), bits: map[string]int{},
	}
	e.programs = append(append(append(e.programs, s.racing...), s.before...), reconcile())
	e.roots, e.live = make([]int32, len(e.programs)), make([]*process, len(e.programs))
	return e
}

func reconcile() program {
	return program{name: "reconcile", do: func(ctx context.Context, p *Publisher) (Receipt, error) { return Receipt{}, p.Reconcile(ctx) }}
}

func (e *explorer) slotOf(name string) int {
	n := e.names
	switch name {
	case n.State:
		return stateSlot
	case n.JWKS:
		return jwksSlot
	case n.Discovery:
		return discoverySlot
	case targetName:
		return targetSlot
	}
	var record int
	if _, err := fmt.Sscanf(strings.TrimPrefix(name, n.Log), "/%d.json", &record); err != nil || recordSlot+record >= targetSlot {
		panic("no slot for " + name)
	}
	return recordSlot + record
}

func (e *explorer) intern(o bucket.Object) uint16 {
	key := string(o.Body) + o.ContentType + o.CacheControl
	id, ok := e.ids[key]
	if !ok {
		id = uint16(len(e.objects))
		e.ids[key] = id
		e.objects = append(e.objects, o)
		e.facts = append(e.facts, e.factOf(o.Body))
	}
	return id
}

func (e *explorer) bit(event string) uint64 {
	n, ok := e.bits[event]
	if !ok {
		n = len(e.bits)
		if n == 64 {
			panic("more than 64 different events")
		}
		e.bits[event] = n
	}
	return 1 << n
}

// how a bucket call goes.
type how uint8

const (
	well        how = iota
	crashBefore     // the publisher dies and the call is never made
	crashAfter      // the publisher dies and the call was made
	storedLost      // it was made, its answer is lost
	neverLost       // it was not made, and the publisher can't know
)

func (h how) String() string {
	return [...]string{"", " and dies before", " and dies after", ", stored, answer lost", ", not stored, answer lost"}[h]
}

// ways are how the next call of a publisher can go. A read that is lost is one whose answer is.
func (e *explorer) ways(w world, n *node) []how {
	all := []how{well}
	if w.crashes > 0 {
		all = append(all, crashBefore)
		if n.next.put {
			all = append(all, crashAfter)
		}
	}
	if w.lost > 0 {
		all = append(all, neverLost)
		if n.next.put {
			all = append(all, storedLost)
		}
	}
	return all
}

// step lets publisher i make its next call.
func (e *explorer) step(w world, i int, h how) (world, error) {
	before, at := w, w.at[i]
	c := e.nodes[at].next
	var a answer
	if h != crashBefore && h != neverLost {
		a = e.call(&w, c)
	}
	switch h {
	case crashBefore, crashAfter:
		w.crashes--
		w.at[i] = e.add(node{program: e.nodes[at].program, crashed: true, events: e.nodes[at].events})
	case storedLost, neverLost:
		w.lost--
		w.at[i] = e.follow(at, answer{failed: unclear})
	case well:
		w.at[i] = e.follow(at, a)
	}
	return w, e.check(before, &w, i, c)
}

// call does what a bucket does.
func (e *explorer) call(w *world, c call) answer {
	held := &w.slots[c.slot]
	switch {
	case !c.put && held.version == 0:
		return answer{failed: notFound}
	case !c.put:
		return answer{slot: *held}
	case held.version != c.seen && c.slot != targetSlot: // which knows no condition
		return answer{failed: conflict}
	}
	version := held.version + 1
	if e.kind == memory.ContentVersions || c.slot == targetSlot {
		version = c.object
	}
	*held = slot{c.object, version}
	return answer{slot: slot{version: version}}
}

// begin runs what happened before the race, one after another.
func (e *explorer) begin(crashes, lost int8) (w world, err error) {
	for p := e.racing; p < len(e.programs)-1; p++ {
		if w, err = e.runAlone(w, p); err != nil {
			return w, err
		}
		e.before |= e.nodes[w.at[alone]].events
	}
	e.sound = crashes == 0 && lost == 0
	w.at, w.crashes, w.lost = [4]int32{}, crashes, lost
	for i := range e.racing {
		w.at[i] = e.root(i)
	}
	return w, nil
}

// runAlone runs a program to its end while nobody else does anything.
func (e *explorer) runAlone(w world, p int) (world, error) {
	w.at[alone] = e.root(p)
	var err error
	for e.nodes[w.at[alone]].running() && err == nil {
		w, err = e.step(w, alone, well)
	}
	if err == nil {
		err = e.nodes[w.at[alone]].err
	}
	return w, err
}

// explore walks every interleaving from a world, and returns how many there are.
func (e *explorer) explore(w world) (float64, error) {
	if n, ok := e.memo[w]; ok {
		return n, nil
	}
	total := 0.0
	for i := range e.racing {
		at := w.at[i]
		if !e.nodes[at].running() {
			continue
		}
		for _, h := range e.ways(w, &e.nodes[at]) {
			next, err := e.step(w, i, h)
			n := 0.0
			if err == nil {
				n, err = e.explore(next)
			}
			if err != nil {
				return 0, e.trace(at, h, err)
			}
			total += n
		}
	}
	if total == 0 {
		total = 1
		if err := errors.Join(e.checkTarget(w, e.racing), e.settle(w)); err != nil {
			return 0, err
		}
	}
	e.memo[w] = total
	return total, nil
}

// wander walks one interleaving by chance; one call in eight goes wrong while something still may.
func (e *explorer) wander(w world, random *rand.Rand) (err error) {
	var path []func(error) error
	for {
		var running []int
		for i := range e.racing {
			if e.nodes[w.at[i]].running() {
				running = append(running, i)
			}
		}
		if len(running) == 0 {
			err = errors.Join(e.checkTarget(w, e.racing), e.settle(w))
			break
		}
		i := running[random.IntN(len(running))]
		at, h := w.at[i], well
		if ways := e.ways(w, &e.nodes[at]); len(ways) > 1 && random.IntN(8) == 0 {
			h = ways[1+random.IntN(len(ways)-1)]
		}
		path = append(path, func(err error) error { return e.trace(at, h, err) })
		if w, err = e.step(w, i, h); err != nil {
			break
		}
	}
	for i := len(path) - 1; i >= 0 && err != nil; i-- {
		err = path[i](err)
	}
	return err
}

// violation is a property that does not hold, and how it came to that.
type violation struct {
	property, detail string
	trace            []string
}

func (v *violation) Error() string {
	return fmt.Sprintf("%s: %s\n\t%s", v.property, v.detail, strings.Join(v.trace, "\n\t"))
}

func (e *explorer) trace(at int32, h how, err error) error {
	var v *violation
	if !errors.As(err, &v) {
		return err
	}
	n := e.nodes[at]
	verb := "reads"
	if n.next.put {
		verb = "writes"
	}
	what := [...]string{"state", "JWKS", "discovery", "record"}[min(n.next.slot, recordSlot+1)]
	if n.next.slot == targetSlot {
		what = "target"
	}
	step := fmt.Sprintf("%s %s %s%s", e.programs[n.program].name, verb, what, h)
	return &violation{v.property, v.detail, append([]string{step}, v.trace...)}
}
