package publish

import (
	"context"
	"errors"
	"log/slog"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// mutant is a mistake in the order of effects. It stands between the code and its buckets, and makes the code do what a wrong one would.
type mutant struct {
	name       string
	store      func(store, names) store
	logger     func(slog.Handler, store) slog.Handler
	unnumbered bool
	in         string // the scenario that shows it
	killedBy   string
}

var mutants = []mutant{
	{name: "JWKS read after the state", in: "new key, revoked, timer without reconcile", killedBy: noFalseAlarm, store: func(s store, n names) store { return &stateFirst{place: place{store: s, names: n}} }},
	{name: "documents before state", in: "new key, revoked, timer without reconcile", killedBy: neverAhead, store: func(s store, n names) store { return documentsFirst{s, n} }},
	{name: "publish skipped on a no-op", in: "new key, revoked, timer without reconcile", killedBy: honest, store: func(s store, n names) store { return &skipNoOp{place: place{store: s, names: n}} }},
	{
		name: "no publication number", in: "announced, revoked, heartbeat without snapshot 3", killedBy: staysOut, unnumbered: true,
		store: func(s store, n names) store { return unnumbered{s, n} },
	},
	{name: "conflict taken for success", in: "new key, revoked, timer without reconcile", killedBy: staysOut, store: func(s store, _ names) store { return trusting{s, bucket.ErrConflict} }},
	{name: "unclear answer taken for success", in: "new key, revoked, timer without reconcile", killedBy: honest, store: func(s store, _ names) store { return trusting{s, errUnclear} }},
	{name: "log only after the commit", in: "new key, revoked, timer without reconcile", killedBy: honest, store: func(s store, n names) store { return &lateRecord{place: place{store: s, names: n}} }},
	{name: "success before the log", in: "new key, revoked, timer without reconcile", killedBy: honest, store: func(s store, n names) store { return noRecord{s, n} }},
	{name: "documents written unconditionally", in: "new key, revoked, timer without reconcile", killedBy: neverOlder, store: func(s store, n names) store { return blind{s, n.JWKS} }},
	{name: "state written unconditionally", in: "new key, revoked, timer without reconcile", killedBy: oneAfterOther, store: func(s store, n names) store { return blind{s, n.State} }},
	{
		name: "state not read again after the target", in: "new key, revoked, timer without reconcile with a target", killedBy: followed,
		store: func(s store, n names) store { return &hasty{store: s, names: n} },
	},
	{
		name: "changes logged by their author only", in: "new key, revoked, timer without reconcile", killedBy: told,
		store: func(s store, n names) store { return &author{store: s, names: n} },
		logger: func(h slog.Handler, s store) slog.Handler {
			return authorsLog{h, s.(*author)} //nolint:forcetypeassert // the line above made it
		},
	},
}

// place knows in which half of a use case the code is: publish begins with the JWKS, commit with the state.
type place struct {
	store
	names
	published bool // the issuer has a state
	inPublish bool
	rereads   bool // publish has yet to read the state
	state     rotation.State
	object    bucket.Object
	version   bucket.Version
}

func (p *place) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	object, version, err := p.store.get(private, name)
	switch {
	case name == p.names.JWKS && p.published:
		p.inPublish, p.rereads = true, true
	case name == p.names.State && err == nil:
		p.inPublish, p.rereads = p.rereads, false
		p.published, p.object, p.version = true, object, version
		p.state, _ = decodeState(object.Body)
	}
	return object, version, err
}

func (p *place) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	version, err := p.store.put(private, name, object, seen)
	if name == p.names.State && err == nil {
		p.published, p.inPublish = true, false
	}
	return version, err
}

type stateFirst struct {
	place
	early func() (bucket.Object, bucket.Version, error)
}

func (m *stateFirst) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	if early := m.early; early != nil && name == m.names.State {
		m.early = nil
		return early()
	}
	if name == m.names.JWKS && m.published {
		object, version, err := m.store.get(true, m.names.State)
		m.early = func() (bucket.Object, bucket.Version, error) { return object, version, err }
	}
	return m.place.get(private, name)
}

type documentsFirst struct {
	store
	names
}

func (m documentsFirst) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if name == m.names.State {
		state, _ := decodeState(object.Body)
		_, version, err := m.get(false, m.names.JWKS)
		if err == nil || errors.Is(err, bucket.ErrNotFound) {
			_, err = m.store.put(false, m.names.JWKS, document(rotation.Render(state)), version)
		}
		if err != nil {
			return bucket.Absent, err
		}
	}
	return m.store.put(private, name, object, seen)
}

type skipNoOp struct {
	place
	wrote, skipping bool
}

func (m *skipNoOp) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	if name == m.names.JWKS && m.published {
		m.skipping, m.wrote = !m.wrote, false
	}
	switch {
	case !m.skipping:
	case name == m.names.JWKS:
		return document(rotation.Render(m.state)), m.version, nil
	case name == m.names.State:
		return m.object, m.version, nil
	case private && m.state.Log.Pending != nil:
		return bucket.Object{Body: encodeRecord(*m.state.Log.Pending)}, m.version, nil
	}
	return m.place.get(private, name)
}

func (m *skipNoOp) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if m.skipping {
		return seen, nil
	}
	version, err := m.place.put(private, name, object, seen)
	m.wrote = m.wrote || err == nil && name == m.names.State
	return version, err
}

type unnumbered struct {
	store
	names
}

func (m unnumbered) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if name == m.names.State {
		state, _ := decodeState(object.Body)
		state.Publication = 1
		object.Body, _ = json.Marshal(state)
	}
	return m.store.put(private, name, object, seen)
}

type trusting struct {
	store
	ignored error
}

func (m trusting) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	version, err := m.store.put(private, name, object, seen)
	if errors.Is(err, m.ignored) {
		err = nil
	}
	return version, err
}

type lateRecord struct{ place }

func (m *lateRecord) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	if private && name != m.names.State && !m.inPublish && m.state.Log.Pending != nil {
		return bucket.Object{Body: encodeRecord(*m.state.Log.Pending)}, m.version, nil
	}
	return m.place.get(private, name)
}

type noRecord struct {
	store
	names
}

func (m noRecord) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if private && name != m.names.State {
		return seen, nil
	}
	return m.store.put(private, name, object, seen)
}

type blind struct {
	store
	name string
}

func (m blind) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if name == m.name {
		_, seen, _ = m.get(private, name)
	}
	return m.store.put(private, name, object, seen)
}

// hasty gives the state that was read before the target was written once more.
type hasty struct {
	store
	names
	state func() (bucket.Object, bucket.Version, error)
	kept  bool
}

func (m *hasty) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	if name == m.names.State && m.kept {
		m.kept = false
		return m.state()
	}
	object, version, err := m.store.get(private, name)
	if name == m.names.State {
		m.state = func() (bucket.Object, bucket.Version, error) { return object, version, err }
	}
	return object, version, err
}

func (m *hasty) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	m.kept = name == targetName
	return m.store.put(private, name, object, seen)
}

type author struct {
	store
	names
	committed bool
}

func (m *author) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	version, err := m.store.put(private, name, object, seen)
	m.committed = m.committed || err == nil && name == m.names.State
	return version, err
}

type authorsLog struct {
	slog.Handler
	author *author
}

func (l authorsLog) Handle(ctx context.Context, r slog.Record) error {
	if _, change := changeOf(r); change && !l.author.committed {
		return nil
	}
	return l.Handler.Handle(ctx, r)
}
