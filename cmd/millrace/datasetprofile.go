package main

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/features/profile"
	"github.com/millrace/millrace/trainer/dataset"
)

type datasetProfileCmd struct {
	Data  string `required:"" placeholder:"FILE" help:"The data set: .csv with a header line, .jsonl with an object on each line, or .parquet."`
	Label string `placeholder:"COLUMN" help:"The column that is to be predicted."`
	JSON  bool   `help:"Print the whole profile as a JSON object, which \"dataset validate --against\" takes."`
}

func (datasetProfileCmd) Help() string {
	return `Prints a line for each column: what kind of values it has, which share of the rows has one, about how many of them are distinct, and where they lie. Of numbers it shows the mean, the standard deviation, the least, the median (to about 1 in 100) and the largest, of times the mean, the least and the largest, of texts the most frequent ones, and of bools the share of true ones.

Parquet says of what kind its columns are. Of CSV and JSON lines, a column is what all its values can be read as: bool, int, float, time or string. An empty cell or null is a missing value.

Examples:

	millrace dataset profile --data train.csv
	millrace dataset profile --data data/lake/events_orders/00000-00000000000000000000.parquet
	millrace dataset profile --data train.csv --label label --json > profile.json`
}

func (c *datasetProfileCmd) Run(ctx context.Context, a *app) error {
	s, err := summarise(ctx, c.Data, c.Label, nil)
	if err != nil {
		return err
	}
	if s.Profile.Rows == 0 {
		return fmt.Errorf("%s has no rows", c.Data)
	}
	if c.JSON {
		return a.printJSON(s.Profile)
	}
	return printProfile(a.stdout, s.Profile)
}

// summarise reads a data set. Label is the name of a column, or empty.
func summarise(ctx context.Context, path, label string, want map[string]features.Kind) (*dataset.Summary, error) {
	kinds := map[string]features.Kind{label: expr.Float} // where it has no values, too
	maps.Copy(kinds, want)
	table, err := offline.OpenTable(ctx, path, kinds)
	if err != nil {
		return nil, err
	}
	var columns []profile.Column
	var names []string
	at := -1
	for i, f := range table.Fields {
		names = append(names, f.Name)
		if f.Name == label && label != "" {
			at = i
			continue
		}
		columns = append(columns, profile.Column{Name: f.Name, Kind: f.Kind})
	}
	if label != "" && at < 0 {
		return nil, usagef("%s has no column %q to be the label; it has %s", path, label, strings.Join(names, ", "))
	}
	if at >= 0 && (table.Fields[at].Kind == expr.String || table.Fields[at].Kind == expr.Time) {
		return nil, fmt.Errorf("%s: the label %q is %v: a label is a number, true or false", path, label, table.Fields[at].Kind)
	}
	var failed error
	s := dataset.Summarise(columns, labelled(table.Rows(ctx), at, &failed))
	return s, failed
}

// labelled takes the label out of rows, NaN where there is none. It ends with
// the first error, which it leaves in failed.
func labelled(rows iter.Seq2[[]features.Value, error], at int, failed *error) iter.Seq2[[]features.Value, float64] {
	return func(yield func([]features.Value, float64) bool) {
		var others []features.Value
		for row, err := range rows {
			if err != nil {
				*failed = err
				return
			}
			label := math.NaN()
			if others = append(others[:0], row...); at >= 0 {
				label = labelOf(row[at])
				others = append(others[:at], others[at+1:]...)
			}
			if !yield(others, label) {
				return
			}
		}
	}
}

func labelOf(v features.Value) float64 {
	if v.Kind == expr.Bool {
		return float64(v.Int())
	}
	if x, ok := v.Number(); ok {
		return x
	}
	return math.NaN()
}

// printProfile prints a line for each column, and then one for the label.
func printProfile(w io.Writer, p *profile.Profile) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COLUMN\tKIND\tPRESENT\tDISTINCT\tMEAN\tSTD\tMIN\tMEDIAN\tMAX\tMOST FREQUENT")
	for i := range p.Columns {
		printColumn(t, p.Columns[i].Name, &p.Columns[i])
	}
	if p.Label != nil {
		printColumn(t, "(label)", p.Label)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s, %s\n", count(p.Rows, "row"), count(int64(len(p.Columns)), "column"))
	return err
}

func printColumn(w io.Writer, name string, s *profile.Stats) {
	cells := [6]string{"-", "-", "-", "-", "-", "-"}
	switch n := s.Numbers; {
	case n != nil && s.Kind == expr.Time.String():
		// No median: it is right to a share of the number, which of the years since
		// 1970 is months.
		for i, us := range map[int]float64{0: n.Mean, 2: n.Min, 4: n.Max} {
			cells[i] = time.UnixMicro(int64(us)).UTC().Format("2006-01-02T15:04:05Z")
		}
	case n != nil:
		median := n.Quantile(0.5)
		if s.Kind == expr.Int.String() {
			median = math.Floor(median)
		}
		for i, x := range [5]float64{n.Mean, n.Std, n.Min, median, n.Max} {
			cells[i] = strconv.FormatFloat(x, 'g', 5, 64)
		}
	case len(s.Top) > 0:
		cells[5] = frequent(s)
	}
	fmt.Fprintf(w, "%s\t%s\t%.4g %%\t%d\t%s\n", name, s.Kind, 100*s.Present(), s.Distinct, strings.Join(cells[:], "\t"))
}

// frequent shows the most frequent texts and their shares of all.
func frequent(s *profile.Stats) string {
	const shown = 3
	var texts []string
	for _, top := range s.Top[:min(len(s.Top), shown)] {
		texts = append(texts, fmt.Sprintf("%q %.3g %%", top.Text, 100*float64(top.Count)/float64(s.Count)))
	}
	return strings.Join(texts, ", ")
}

// readProfile reads a profile, or makes one of a data set.
func readProfile(ctx context.Context, path, label string, want map[string]features.Kind) (*profile.Profile, error) {
	if !strings.HasSuffix(path, ".json") {
		s, err := summarise(ctx, path, label, want)
		if err != nil {
			return nil, err
		}
		return s.Profile, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := profile.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}
