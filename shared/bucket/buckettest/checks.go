package buckettest

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

func absent(ctx context.Context, s stage) error {
	return s.lacks(ctx, s.name("absent"))
}

func create(ctx context.Context, s stage) error {
	name := s.name("created")
	version, err := put(ctx, s.a, name, text("one"), bucket.Absent)
	if err != nil {
		return err
	}
	return s.holds(ctx, name, text("one"), version)
}

func createTwice(ctx context.Context, s stage) error {
	name := s.name("created")
	version, err := put(ctx, s.a, name, text("one"), bucket.Absent)
	if err != nil {
		return err
	}
	for _, b := range s.handles() {
		for _, body := range []string{"two", "one"} { // a second creation is a conflict even with the same content
			if err := refused(ctx, b, name, text(body), bucket.Absent, bucket.ErrConflict); err != nil {
				return err
			}
		}
	}
	return s.holds(ctx, name, text("one"), version)
}

// update writes by turns through both handles: what one wrote, the other sees.
func update(ctx context.Context, s stage) error {
	name, version := s.name("updated"), bucket.Absent
	for i := range 6 {
		before, object := version, text(fmt.Sprint("turn ", i))
		var err error
		if version, err = put(ctx, s.handles()[i%2], name, object, before); err != nil {
			return err
		}
		if version == before {
			return fmt.Errorf("version is still %q after another body was written", version)
		}
		if err := s.holds(ctx, name, object, version); err != nil {
			return err
		}
	}
	return nil
}

func staleUpdate(ctx context.Context, s stage) error {
	name := s.name("updated")
	first, err := put(ctx, s.a, name, text("one"), bucket.Absent)
	if err != nil {
		return err
	}
	second, err := put(ctx, s.b, name, text("two"), first)
	if err != nil {
		return err
	}
	for _, b := range s.handles() {
		if err := refused(ctx, b, name, text("three"), first, bucket.ErrConflict); err != nil {
			return err
		}
	}
	return s.holds(ctx, name, text("two"), second)
}

func updateOfAbsent(ctx context.Context, s stage) error {
	version, err := put(ctx, s.a, s.name("other"), text("one"), bucket.Absent)
	if err != nil {
		return err
	}
	for _, b := range s.handles() {
		if err := refused(ctx, b, s.name("absent"), text("two"), version, bucket.ErrConflict); err != nil {
			return err
		}
	}
	return s.lacks(ctx, s.name("absent"))
}

func headers(ctx context.Context, s stage) error {
	name, version := s.name("headers"), bucket.Absent
	for _, object := range []bucket.Object{
		{ContentType: "application/json", CacheControl: "public, max-age=60, must-revalidate"},
		{ContentType: "application/json"},
		{ContentType: "application/json", CacheControl: "no-store"},
		{ContentType: "text/plain", CacheControl: "no-store"},
		{ContentType: `text/plain; charset="utf-8"`, CacheControl: `private="x", max-age=0`},
		{ContentType: strings.Repeat("x", 100) + "/" + strings.Repeat("y", 100), CacheControl: strings.Repeat("z", bucket.MaxHeader)},
	} {
		object.Body = []byte("{}") // the body stays: a change of headers alone is a change
		var err error
		if version, err = put(ctx, s.a, name, object, version); err != nil {
			return err
		}
		if err := s.holds(ctx, name, object, version); err != nil {
			return err
		}
	}
	return nil
}

func bodies(ctx context.Context, s stage) error {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	name, version := s.name("bodies"), bucket.Absent
	for _, body := range [][]byte{
		[]byte("first"),
		{},
		every,
		[]byte("\n\n \t\r\n text \r\n\r\n"),
		[]byte("\xef\xbb\xbf{\"a\": \"\xff\"}"),
		[]byte("\x1f\x8b\x08 only looks compressed"),
		[]byte("Content-Type: a/b\n\nbody"),
		bytes.Repeat(every, 1<<20/len(every)),
		bytes.Repeat([]byte("x"), bucket.MaxBody),
		nil,
	} {
		object := bucket.Object{Body: body, ContentType: "application/octet-stream"}
		var err error
		if version, err = put(ctx, s.a, name, object, version); err != nil {
			return err
		}
		if err := s.holds(ctx, name, object, version); err != nil {
			return err
		}
	}
	return nil
}

// names are written all before any is read, so that two that a driver maps to one place are found.
func names(ctx context.Context, s stage) error {
	all := []string{
		s.folder, s.name("a"), s.name("a/b"), s.name("a/b/c"), s.name("a/c"), s.name("b"), s.name("A"), s.name("A/b"),
		s.name("a-b"), s.name("a_b"), s.name("a.b"), s.name("a~b"), s.name("a!b"), s.name("a~2Fb"), s.name("ab"),
		s.name(".hidden"), s.name("...dots"), s.name("-dash"), s.name("~"), s.name("a.json"), s.name("a.JSON"),
		s.name(".lock"), s.name("lock"), s.name("new"), s.name("tmp"), s.name("a.tmp"), s.name("a~"), s.name(".a.swp"),
		s.name(".well-known/openid-configuration"), s.name("openid/v1/jwks"),
		".well-known/" + s.folder, ".well-known/" + s.folder + "/x",
		s.name(strings.Repeat("a/", bucket.MaxSegments-2) + "deep"),
		s.name(strings.Repeat("s", bucket.MaxSegment)), s.name(strings.Repeat("s", bucket.MaxSegment-1)),
		longest(s.name("")), longest(s.name(""))[:bucket.MaxName-1], longest(s.name(""))[:bucket.MaxName-1] + "m",
	}
	versions := make([]bucket.Version, len(all))
	for i, name := range all {
		var err error
		if versions[i], err = put(ctx, s.a, name, text("named "+name), bucket.Absent); err != nil {
			return err
		}
	}
	for i, name := range all {
		if err := s.holds(ctx, name, text("named "+name), versions[i]); err != nil {
			return err
		}
	}
	return nil
}

func longest(prefix string) string {
	name := prefix
	for len(name) < bucket.MaxName-bucket.MaxSegment {
		name += strings.Repeat("n", bucket.MaxSegment-1) + "/"
	}
	return name + strings.Repeat("n", bucket.MaxName-len(name))
}

func invalidNames(ctx context.Context, s stage) error {
	for _, name := range []string{
		"", "/", ".", "..", "/" + s.name("a"), s.name(""), s.name("/a"), s.name("./a"), s.name("x/../a"), s.name("../" + s.folder + "/a"),
		s.name("a/."), s.name("a."), s.name("a b"), s.name("a\x00"), s.name("a\n"), s.name(`a\b`), s.name("a@"), s.name("a%2Fb"),
		s.name("a?b"), s.name("a#b"), s.name("é"), s.name("\xff"), longest(s.name("")) + "n", s.name(strings.Repeat("s", bucket.MaxSegment+1)),
	} {
		for _, b := range s.handles() {
			if _, _, err := b.Get(ctx, name); only(err, bucket.ErrName) != nil {
				return fmt.Errorf("Get(%.80q): %w", name, only(err, bucket.ErrName))
			}
			if err := refused(ctx, b, name, text("one"), bucket.Absent, bucket.ErrName); err != nil {
				return err
			}
		}
		// A driver that cleans a name up would have written there.
		if clean := strings.TrimLeft(path.Clean(name), "/"); bucket.CheckName(clean) == nil {
			if err := s.lacks(ctx, clean); err != nil {
				return err
			}
		}
	}
	return nil
}

func invalidObjects(ctx context.Context, s stage) error {
	version, err := put(ctx, s.a, s.name("held"), text("one"), bucket.Absent)
	if err != nil {
		return err
	}
	for _, object := range []bucket.Object{
		{Body: []byte("no content type")},
		{ContentType: "a/b\r\nX-Smuggled: header"},
		{ContentType: "a/b", CacheControl: "no-store\n"},
		{ContentType: "a/b", CacheControl: " no-store"},
		{ContentType: "a/é"},
		{ContentType: "a/" + strings.Repeat("b", bucket.MaxHeader)},
		{ContentType: "a/b", Body: make([]byte, bucket.MaxBody+1)},
	} {
		for _, b := range s.handles() {
			if err := refused(ctx, b, s.name("absent"), object, bucket.Absent, bucket.ErrObject); err != nil {
				return err
			}
			if err := refused(ctx, b, s.name("held"), object, version, bucket.ErrObject); err != nil {
				return err
			}
		}
	}
	if err := s.lacks(ctx, s.name("absent")); err != nil {
		return err
	}
	return s.holds(ctx, s.name("held"), text("one"), version)
}

// cancelled: a call that was given up says nothing about the store, so its error is none of those that do.
func cancelled(ctx context.Context, s stage) error {
	over, cancel := context.WithCancel(ctx)
	cancel()
	version, err := put(ctx, s.a, s.name("held"), text("one"), bucket.Absent)
	if err != nil {
		return err
	}
	for _, b := range s.handles() {
		for name, seen := range map[string]bucket.Version{s.name("absent"): bucket.Absent, s.name("held"): version} {
			if _, _, err := b.Get(over, name); only(err, nil) != nil {
				return fmt.Errorf("Get(%q), cancelled: %w", name, only(err, nil))
			}
			if err := refused(over, b, name, text("two"), seen, nil); err != nil {
				return fmt.Errorf("cancelled: %w", err)
			}
		}
	}
	return nil
}

func bodyOfGet(ctx context.Context, s stage) error {
	name := s.name("shared")
	version, err := put(ctx, s.a, name, text("original"), bucket.Absent)
	if err != nil {
		return err
	}
	got, _, err := s.a.Get(ctx, name)
	if err != nil {
		return err
	}
	scribble(got.Body)
	return s.holds(ctx, name, text("original"), version)
}

func bodyOfPut(ctx context.Context, s stage) error {
	name, object := s.name("shared"), text("original")
	version, err := put(ctx, s.a, name, object, bucket.Absent)
	if err != nil {
		return err
	}
	if string(object.Body) != "original" {
		return fmt.Errorf("Put changed the caller's body to %q", object.Body)
	}
	scribble(object.Body)
	return s.holds(ctx, name, text("original"), version)
}

// scribble writes over a body, and over what append would reuse behind it.
func scribble(body []byte) {
	body = body[:cap(body)]
	for i := range body {
		body[i] = '#'
	}
}
