package step

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"pivt.io/pivt/pkg/exit"
	"pivt.io/pivt/pkg/few"
)

// Time limits of single tries. A try that is under way when the step's wait ends is let
// finish, so they also bound how far a step overruns it.
const (
	tryTimeout     = 30 * time.Second
	installTimeout = 5 * time.Minute // Fabric's own limit
	// A peer builds what it installs, and answers when its own patience ends, for which it can be
	// configured. This is for a peer that does not answer at all.
	buildTimeout = 20 * time.Minute
)

// until repeats try while its error is transient and the step's wait is not over.
func (s *session) until(ctx context.Context, timeout time.Duration, try func(context.Context) error) error {
	begin, last := s.env.Now(), ""
	for attempt := 1; ; attempt++ {
		tryCtx, cancel := context.WithTimeout(ctx, timeout)
		err := try(tryCtx)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			// Only in words, or what was last seen would decide the exit code.
			return fmt.Errorf("%w, last seen: %v", ctx.Err(), err)
		case !exit.IsTransient(err):
			return err
		case !s.env.Now().Before(s.deadline):
			return err
		}
		if err.Error() != last { // once per reason, not once per look
			last = err.Error()
			s.log.Info("waiting", "for", last, "attempt", attempt, "elapsed", s.env.Now().Sub(begin).Round(time.Millisecond).String())
		}
		if err := pause(ctx, s.env.Poll); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// each does the same with every item at once and reports every failure, in order.
func each[T any](items []T, do func(T) error) error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { errs[i] = do(item) })
	}
	wg.Wait()
	return together(errs)
}

// maxListed is how many of several failures a message spells out.
const maxListed = 3

// failures are those of several nodes or channels. What will not cure itself comes first,
// because the first one's exit code counts.
type failures []error

func together(errs []error) error {
	var final, passing failures
	for _, err := range errs {
		switch {
		case err == nil:
		case exit.IsTransient(err):
			passing = append(passing, err)
		default:
			// Spelled out, or the code of one that may pass would be found instead of none.
			final = append(final, exit.With(err, exit.CodeOf(err)))
		}
	}
	all := append(final, passing...)
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

func (f failures) Error() string { return few.Sentences(f, maxListed) }

func (f failures) Unwrap() []error { return f }

// later marks an error of one of the kinds as one that time may cure: a step knows what is still
// being built, package fabric does not.
func later(err error, kinds ...error) error {
	for _, k := range kinds {
		if errors.Is(err, k) {
			return exit.Transient(err)
		}
	}
	return err
}
