package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

const (
	racers = 8 // goroutines, half of them on each handle
	rounds = 6 // of each
)

// race starts all racers at once, spread over both handles, and joins their errors.
func (s stage) race(run func(racer int, b bucket.Bucket) error) error {
	start, errs := make(chan struct{}), make([]error, racers)
	var all sync.WaitGroup
	for racer := range racers {
		all.Go(func() {
			<-start
			errs[racer] = run(racer, s.handles()[racer%2])
		})
	}
	close(start)
	all.Wait()
	return errors.Join(errs...)
}

// racingUpdates counts up from many sides, which all have read before the first of them writes. A count that is too low is
// a lost update; a number that two racers believe to have written is one too.
func racingUpdates(ctx context.Context, s stage) error {
	name := s.name("counter")
	if _, err := put(ctx, s.a, name, text("0"), bucket.Absent); err != nil {
		return err
	}
	var mu sync.Mutex
	written := map[int]bool{}
	for range rounds {
		var reading sync.WaitGroup
		reading.Add(racers)
		if err := s.race(func(_ int, b bucket.Bucket) error {
			count, err := increment(ctx, b, name, &reading)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if written[count] {
				return fmt.Errorf("two writers were told that they wrote %d", count)
			}
			written[count] = true
			return nil
		}); err != nil {
			return err
		}
	}
	got, version, err := s.a.Get(ctx, name)
	if err != nil {
		return err
	}
	if want := strconv.Itoa(racers * rounds); string(got.Body) != want {
		return fmt.Errorf("counted to %q, want %q", got.Body, want)
	}
	return s.holds(ctx, name, got, version)
}

// increment adds one to a counter and returns what it wrote. After its first read it waits for the others'.
func increment(ctx context.Context, b bucket.Bucket, name string, reading *sync.WaitGroup) (int, error) {
	count, version, err := readCounter(ctx, b, name)
	reading.Done()
	reading.Wait()
	for ; err == nil; count, version, err = readCounter(ctx, b, name) {
		if _, err := b.Put(ctx, name, text(strconv.Itoa(count+1)), version); err == nil {
			return count + 1, nil
		} else if err := only(err, bucket.ErrConflict); err != nil {
			return 0, fmt.Errorf("Put(%q) in a race: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return 0, fmt.Errorf("no increment came through: %w", err)
		}
	}
	return 0, err
}

func readCounter(ctx context.Context, b bucket.Bucket, name string) (int, bucket.Version, error) {
	object, version, err := b.Get(ctx, name)
	if err != nil {
		return 0, bucket.Absent, fmt.Errorf("Get(%q) in a race: %w", name, err)
	}
	count, err := strconv.Atoi(string(object.Body))
	return count, version, err
}

// racingCreates: exactly one wins, all others are told so, and the object is the winner's.
func racingCreates(ctx context.Context, s stage) error {
	for round := range rounds {
		name := s.name(fmt.Sprint("created-", round))
		var mu sync.Mutex
		winners := map[int]bucket.Version{}
		if err := s.race(func(racer int, b bucket.Bucket) error {
			version, err := b.Put(ctx, name, text(fmt.Sprint("racer ", racer)), bucket.Absent)
			if err != nil {
				return only(err, bucket.ErrConflict)
			}
			mu.Lock()
			defer mu.Unlock()
			winners[racer] = version
			return nil
		}); err != nil {
			return err
		}
		if len(winners) != 1 {
			return fmt.Errorf("%d of %d racers were told that they created %q", len(winners), racers, name)
		}
		for winner, version := range winners {
			if err := s.holds(ctx, name, text(fmt.Sprint("racer ", winner)), version); err != nil {
				return err
			}
		}
	}
	return nil
}

// racingReaders: the first two racers write objects whose parts belong together, the others read until both are done.
func racingReaders(ctx context.Context, s stage) error {
	const writers = 2
	name := s.name("torn")
	if _, err := put(ctx, s.a, name, pattern(0), bucket.Absent); err != nil {
		return err
	}
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	var writing sync.WaitGroup
	writing.Add(writers)
	go func() {
		writing.Wait()
		cancel()
	}()
	return s.race(func(racer int, b bucket.Bucket) error {
		if racer < writers {
			defer writing.Done()
			return writePatterns(ctx, b, name, racer)
		}
		for done.Err() == nil {
			if err := readPattern(ctx, b, name); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

func writePatterns(ctx context.Context, b bucket.Bucket, name string, writer int) error {
	for i := range 5 * rounds {
		_, version, err := b.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("Get(%q) in a race: %w", name, err)
		}
		if _, err := b.Put(ctx, name, pattern(2*i+writer), version); err != nil && only(err, bucket.ErrConflict) != nil {
			return fmt.Errorf("Put(%q) in a race: %w", name, err)
		}
	}
	return nil
}

func readPattern(ctx context.Context, b bucket.Bucket, name string) error {
	object, _, err := b.Get(ctx, name)
	if err != nil {
		return fmt.Errorf("Get(%q) in a race: %w", name, err)
	}
	number, err := strconv.Atoi(object.CacheControl)
	if err != nil {
		return fmt.Errorf("Get(%q) in a race: %w", name, err)
	}
	if err := same(object, pattern(number)); err != nil {
		return fmt.Errorf("Get(%q) returned parts of several objects: %w", name, err)
	}
	return nil
}

// pattern makes an object of which each part tells all others; even ones are short, odd ones long.
func pattern(number int) bucket.Object {
	body := bytes.Repeat([]byte(fmt.Sprintf("%8d", number)), 10+number%2*4096)
	return bucket.Object{Body: body, ContentType: fmt.Sprint("text/x", number), CacheControl: strconv.Itoa(number)}
}
