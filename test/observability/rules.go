// Package observability holds alerts, dashboard, runbook and the documentation of the metrics to each other.
//
// Rules are evaluated by Prometheus' own engine, parser and templates, in this process: a module of its own keeps them out of the product's
// dependencies. The cases are in the form of `promtool test rules`, which says the same of them.
package observability

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/template"
)

// An Alert fires.
type Alert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// Prometheus evaluates alert rules over series that are known beforehand.
type Prometheus struct {
	engine *promql.Engine
	series storage.Queryable
	rules  []rulefmt.Rule
	active []map[uint64]time.Time // by rule: the labels' hash → since when
}

// NewPrometheus makes one that has seen nothing yet.
func NewPrometheus(rules []rulefmt.Rule, series storage.Queryable) *Prometheus {
	p := &Prometheus{
		rules: rules, series: series,
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true, Parser: Parser()}),
	}
	for range rules {
		p.active = append(p.active, map[uint64]time.Time{})
	}
	return p
}

// Parser reads PromQL as a Prometheus without experimental features does.
func Parser() parser.Parser { return parser.NewParser(parser.Options{}) }

// Evaluate evaluates every rule at a time, and returns what fires by the alert's name. Times have to come in order.
func (p *Prometheus) Evaluate(ctx context.Context, at time.Time) (map[string][]Alert, error) {
	firing := map[string][]Alert{}
	for i, rule := range p.rules {
		alerts, err := p.evaluate(ctx, rule, p.active[i], at)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rule.Alert, err)
		}
		firing[rule.Alert] = append(firing[rule.Alert], alerts...)
	}
	return firing, nil
}

// evaluate is the life of an alert: pending from the first evaluation that has its labels, firing after "for", gone with the labels.
func (p *Prometheus) evaluate(ctx context.Context, rule rulefmt.Rule, active map[uint64]time.Time, at time.Time) ([]Alert, error) {
	if rule.KeepFiringFor != 0 {
		return nil, errors.New("keep_firing_for is not known here")
	}
	vector, err := p.query(ctx, rule.Expr, at)
	if err != nil {
		return nil, err
	}
	var firing []Alert
	now := map[uint64]bool{}
	for _, sample := range vector {
		alert, hash, err := p.expand(ctx, rule, sample, at)
		if err != nil {
			return nil, err
		}
		now[hash] = true
		if _, known := active[hash]; !known {
			active[hash] = at
		}
		if at.Sub(active[hash]) >= time.Duration(rule.For) {
			firing = append(firing, alert)
		}
	}
	maps.DeleteFunc(active, func(hash uint64, _ time.Time) bool { return !now[hash] })
	return firing, nil
}

func (p *Prometheus) query(ctx context.Context, expression string, at time.Time) (promql.Vector, error) {
	query, err := p.engine.NewInstantQuery(ctx, p.series, nil, expression, at)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	if len(result.Warnings) > 0 {
		return nil, fmt.Errorf("%v", result.Warnings.AsErrors())
	}
	return result.Vector()
}

// expand fills an alert's templates, and tells the hash of its labels.
func (p *Prometheus) expand(ctx context.Context, rule rulefmt.Rule, sample promql.Sample, at time.Time) (Alert, uint64, error) {
	data := template.AlertTemplateData(sample.Metric.Map(), nil, "", sample)
	texts := func(templates map[string]string) (map[string]string, error) {
		filled := map[string]string{}
		for name, text := range templates {
			definitions := `{{$labels := .Labels}}{{$value := .Value}}`
			expander := template.NewTemplateExpander(ctx, definitions+text, rule.Alert, data, model.Time(timestamp.FromTime(at)), nil, nil, []string{"missingkey=error"})
			var err error
			if filled[name], err = expander.Expand(); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
		return filled, nil
	}
	own, err := texts(rule.Labels)
	if err != nil {
		return Alert{}, 0, err
	}
	annotations, err := texts(rule.Annotations)
	if err != nil {
		return Alert{}, 0, err
	}
	builder := labels.NewBuilder(sample.Metric).Del(model.MetricNameLabel)
	for name, value := range own {
		builder.Set(name, value)
	}
	all := builder.Labels()
	return Alert{Labels: all.Map(), Annotations: annotations}, all.Hash(), nil
}
