package observability

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// ParseSeries reads a series as people write it for promtool, such as 0+1x10 for eleven samples, the first at time 0.
func ParseSeries(metric, values string, interval time.Duration) (storage.Series, error) {
	name, sequence, err := Parser().ParseSeriesDesc(strings.TrimSpace(metric) + " " + values)
	if err != nil {
		return nil, fmt.Errorf("series %s: %w", metric, err)
	}
	var samples []chunks.Sample
	for i, value := range sequence {
		if !value.Omitted {
			samples = append(samples, sample{at: (time.Duration(i) * interval).Milliseconds(), value: value.Value})
		}
	}
	return storage.NewListSeries(name, samples), nil
}

// Queryable is a store of series in memory.
func Queryable(all []storage.Series) storage.Queryable {
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			found := &seriesSet{}
			for _, series := range all {
				if matches(series.Labels(), matchers) {
					found.next = append(found.next, series)
				}
			}
			return found
		},
	}}
}

func matches(l labels.Labels, matchers []*labels.Matcher) bool {
	for _, matcher := range matchers {
		if !matcher.Matches(l.Get(matcher.Name)) {
			return false
		}
	}
	return true
}

type seriesSet struct {
	at   storage.Series
	next []storage.Series
}

func (s *seriesSet) Next() bool {
	if len(s.next) == 0 {
		return false
	}
	s.at, s.next = s.next[0], s.next[1:]
	return true
}

func (s *seriesSet) At() storage.Series { return s.at }

func (*seriesSet) Err() error { return nil }

func (*seriesSet) Warnings() annotations.Annotations { return nil }

type sample struct {
	at    int64 // milliseconds
	value float64
}

func (s sample) T() int64 { return s.at }

func (sample) ST() int64 { return 0 }

func (s sample) F() float64 { return s.value }

func (sample) H() *histogram.Histogram { return nil }

func (sample) FH() *histogram.FloatHistogram { return nil }

func (sample) Type() chunkenc.ValueType { return chunkenc.ValFloat }

func (s sample) Copy() chunks.Sample { return s }
