package publish

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// The properties of DESIGN.md that every interleaving keeps.
const (
	neverOlder    = "a write never replaces a newer publication by an older"
	neverAhead    = "nothing is published before it is committed"
	oneAfterOther = "no commit is lost"
	neverMissing  = "a current key that was published stays published"
	staysOut      = "a revoked key is never published again"
	neverAgain    = "a replayed or late snapshot changes nothing"
	honest        = "success is reported only for what is published and logged"
	noFalseAlarm  = "nothing is called lost that is not"
	settles       = "after one reconcile the documents are what the state says"
	complete      = "the log is complete and chained"
	persists      = "nobody gives up while nothing fails"
	told          = "every change is logged at least once"
	followed      = "once all have succeeded, or after one reconcile, the target has the keys of the state"
)

// fact is what an object says, whichever it is.
type fact struct {
	keys   uint8 // in a JWKS: those published; in a state: those it calls current
	number uint32
	state  *rotation.State
	entry  *rotation.Entry
	events uint64 // in a record
}

func (e *explorer) factOf(body []byte) (f fact) {
	if number, ok := rotation.PublicationOf(body); ok {
		set, err := jwks.Parse(body)
		if err != nil {
			panic(err)
		}
		return fact{keys: e.mask(set.IDs()...), number: number}
	}
	if state, err := decodeState(body); err == nil {
		f.state, f.number = &state, state.Publication
		for _, key := range state.Clusters[0].Keys {
			if key.Status == rotation.Current {
				f.keys |= e.mask(key.JWK.ID())
			}
		}
		return f
	}
	if set, err := jwks.Parse(body); err == nil { // the target's
		return fact{keys: e.mask(set.IDs()...)}
	}
	var entry rotation.Entry
	if err := json.Unmarshal(body, &entry); err == nil && entry.Number > 0 {
		f.entry = &entry
		for _, c := range entry.Changes {
			f.events |= e.bit(fmt.Sprint(c.Event, " ", c.Cluster, " ", c.KeyID, " ", entry.Number))
		}
	}
	return f
}

func (e *explorer) mask(ids ...string) (mask uint8) {
	for _, id := range ids {
		mask |= 1 << slices.Index(e.keys, id)
	}
	return mask
}

// of is what an object in a slot says.
func (e *explorer) of(w *world, slot int) fact { return e.facts[w.slots[slot].object] }

// check looks at one call of publisher i, which took a world to the next.
func (e *explorer) check(before world, w *world, i int, c call) error {
	if c.put && before.slots[c.slot] != w.slots[c.slot] {
		if err := e.checkWrite(before, w, c.slot); err != nil {
			return err
		}
	}
	state, public := e.of(w, stateSlot), e.of(w, jwksSlot)
	w.published |= public.keys
	if missing := state.keys & w.published &^ public.keys; missing != 0 {
		return &violation{property: neverMissing, detail: fmt.Sprintf("keys %b", missing)}
	}
	for _, at := range w.at[:e.racing] {
		if n := e.nodes[at]; n.ended && n.err == nil && public.keys&e.mask(e.revoked(n)...) != 0 {
			return &violation{property: staysOut, detail: e.programs[n.program].name}
		}
	}
	if n := e.nodes[w.at[i]]; n.ended {
		return e.checkEnd(w, n)
	}
	return nil
}

func (e *explorer) revoked(n node) []string {
	if key := e.programs[n.program].revokes; key != "" {
		return []string{key}
	}
	return nil
}

func (e *explorer) checkWrite(before world, w *world, slot int) error {
	was, is := e.of(&before, slot), e.of(w, slot)
	switch {
	case slot == jwksSlot && before.slots[slot].version != 0 && is.number <= was.number && !e.mutant.unnumbered:
		return &violation{property: neverOlder, detail: fmt.Sprintf("publication %d over %d", is.number, was.number)}
	case slot == jwksSlot && is.number > e.of(w, stateSlot).number:
		return &violation{property: neverAhead, detail: fmt.Sprintf("publication %d, the state has %d", is.number, e.of(w, stateSlot).number)}
	case slot == stateSlot && was.state != nil:
		a, b := was.state, is.state
		if b.Revision != a.Revision+1 {
			return &violation{property: oneAfterOther, detail: fmt.Sprintf("revision %d over %d", b.Revision, a.Revision)}
		}
		x, y := a.Clusters[0], b.Clusters[0]
		if y.Seq < x.Seq || y.Seq == x.Seq && y.Digest != x.Digest {
			return &violation{property: neverAgain, detail: fmt.Sprintf("sequence number %d over %d", y.Seq, x.Seq)}
		}
	case slot > recordSlot && slot != targetSlot && before.slots[slot].version != 0:
		return &violation{property: complete, detail: "a record was overwritten"}
	}
	return nil
}

// checkEnd looks at what a publisher says at its end.
func (e *explorer) checkEnd(w *world, n node) error {
	p, state := e.programs[n.program], e.of(w, stateSlot)
	var refusal *Refusal
	switch {
	case n.err == nil:
	case errors.Is(n.err, ErrStateLost), errors.Is(n.err, ErrLogConflict):
		return &violation{property: noFalseAlarm, detail: n.err.Error()}
	case errors.Is(n.err, ErrTarget):
		return nil // it says so
	case errors.Is(n.err, ErrRetry) && e.sound:
		return &violation{property: persists, detail: p.name}
	case errors.Is(n.err, ErrRetry), errors.Is(n.err, rotation.ErrRevoked), errors.As(n.err, &refusal) && refusal.Code == CodeSuperseded:
		return nil
	default:
		return fmt.Errorf("%s: %w", p.name, n.err)
	}
	read := e.facts[n.read].state
	switch {
	case read == nil:
		return &violation{property: honest, detail: p.name + " never saw a state"}
	case p.seq > 0 && state.state.Clusters[0].Seq < p.seq:
		return &violation{property: honest, detail: p.name + " is not in the state"}
	case !e.mutant.unnumbered && e.of(w, jwksSlot).number < max(n.receipt.Publication, read.Publication):
		return &violation{property: honest, detail: fmt.Sprintf("publication %d is not public", n.receipt.Publication)}
	}
	for record := range int(read.Log.Entries) {
		if w.slots[recordSlot+1+record].version == 0 {
			return &violation{property: honest, detail: fmt.Sprintf("record %d is not stored", record+1)}
		}
	}
	return nil
}

// settle lets one reconcile run after all have ended, and looks at what is left.
func (e *explorer) settle(w world) error {
	events := e.before
	for _, at := range w.at[:e.racing] {
		events |= e.nodes[at].events
	}
	w, err := e.runAlone(w, len(e.programs)-1)
	if err != nil {
		var v *violation
		if errors.As(err, &v) {
			return err
		}
		return &violation{property: settles, detail: err.Error()}
	}
	events |= e.nodes[w.at[alone]].events
	state := e.of(&w, stateSlot).state
	if !bytes.Equal(e.objects[w.slots[jwksSlot].object].Body, rotation.Render(*state)) || w.slots[discoverySlot].version == 0 {
		return &violation{property: settles, detail: "they differ"}
	}
	if err := e.checkTarget(w, 0); err != nil {
		return err
	}
	return e.checkLog(w, state.Log, events)
}

func (e *explorer) checkLog(w world, log rotation.Log, events uint64) error {
	previous, seen := "", map[string]bool{}
	for number := int64(1); number <= log.Entries; number++ {
		held := w.slots[recordSlot+number]
		f := e.facts[held.object]
		switch {
		case held.version == 0 || f.entry == nil:
			return &violation{property: complete, detail: fmt.Sprintf("record %d of %d is missing", number, log.Entries)}
		case f.entry.Number != number || f.entry.Previous != previous:
			return &violation{property: complete, detail: fmt.Sprintf("record %d does not follow the one before", number)}
		case f.entry.Envelope != "" && seen[f.entry.Envelope]:
			return &violation{property: neverAgain, detail: fmt.Sprintf("record %d has a snapshot that an earlier has", number)}
		case f.events&^events != 0:
			return &violation{property: told, detail: fmt.Sprintf("changes of record %d", number)}
		}
		seen[f.entry.Envelope] = true
		previous = digestOf(e.objects[held.object].Body)
	}
	if previous != log.Last {
		return &violation{property: complete, detail: "the state names another last record"}
	}
	return nil
}
