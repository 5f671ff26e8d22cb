package offline

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/streams/codec"
)

// A grouping is blocks by key, in any order.
type grouping struct {
	r      *rand.Rand
	blocks map[int64][][]byte
}

func newGrouping(r *rand.Rand) *grouping { return &grouping{r, map[int64][][]byte{}} }

func (g *grouping) add(key int64, b []byte) error {
	all := append(g.blocks[key], b)
	i := g.r.IntN(len(all))
	all[i], all[len(all)-1] = all[len(all)-1], all[i]
	g.blocks[key] = all
	return nil
}

// runPieces builds a dataset as a runner does, which moves blocks in any order
// and has each piece know no more than what travels.
func runPieces(t *testing.T, plan *features.Plan, p *Pieces, r *rand.Rand, rejected func(*features.Event, error)) (counts Counts) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	travel := func(from, to any) {
		t.Helper()
		text, err := json.Marshal(from)
		must(err)
		must(json.Unmarshal(text, to))
	}
	var there Pieces
	travel(p, &there)
	events, probes, pages := newGrouping(r), newGrouping(r), newGrouping(r)
	var sections []Section
	must(there.Sections(t.Context(), plan, func(s Section) error {
		var moved Section
		travel(s, &moved)
		sections = append(sections, moved)
		return nil
	}))
	r.Shuffle(len(sections), func(i, j int) { sections[i], sections[j] = sections[j], sections[i] })
	for _, s := range sections {
		c, err := there.Events(t.Context(), plan, s, rejected, events.add)
		must(err)
		counts.Add(c)
	}
	must(there.ProbeBlocks(t.Context(), plan, probes.add))
	for shard := range int64(plan.Source.Partitions) {
		c, err := there.Answer(t.Context(), plan, shard, events.blocks[shard], probes.blocks[shard], rejected, pages.add)
		must(err)
		counts.Add(c)
	}
	for page, blocks := range pages.blocks {
		must(there.WritePage(page, blocks))
	}
	must(there.Finish(t.Context(), plan))
	return counts
}

// TestPiecesEqualBuildFiles builds datasets in pieces of generated worlds, from
// files and from a lake, into files of each format: they are those of BuildFiles,
// and so are the counts and the lines that are refused.
func TestPiecesEqualBuildFiles(t *testing.T) {
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 77))
		w := featurestest.New(seed)
		if seed%2 == 0 {
			w = featurestest.Large(seed, 2000, 30)
		}
		w.Source.Partitions, w.Source.Format = 1+r.IntN(4), "json"
		plan := compile(t, w)
		dir := save(t, worldFiles(plan, w, r))
		for _, events := range []string{"events.jsonl", "events.csv"} {
			for _, names := range [][2]string{{"probes.csv", "set.csv"}, {"probes.jsonl", "set.jsonl"}, {"probes.csv", "set.json"}} {
				f := Files{Events: filepath.Join(dir, events), Probes: filepath.Join(dir, names[0]), Out: filepath.Join(dir, names[1]), KnownByArrival: seed%3 == 0}
				samePieces(t, plan, f, r, seed%4 == 1)
			}
		}
	}
	w := featurestest.Large(1, 3000, 25)
	w.Source.Partitions, w.Source.Format = 3, "json"
	plan, r := compile(t, w), rand.New(rand.NewPCG(1, 1))
	dir := save(t, worldFiles(plan, w, r))
	samePieces(t, plan, Files{Events: archive(t, plan, w.Events), Probes: filepath.Join(dir, "probes.csv"), Out: filepath.Join(dir, "set.csv")}, r, false)
}

func samePieces(t *testing.T, plan *features.Plan, f Files, r *rand.Rand, exclude bool) {
	t.Helper()
	refused := func(to *[]string) func(*features.Event, error) {
		return func(_ *features.Event, why error) { *to = append(*to, why.Error()) }
	}
	var wantRefused, gotRefused []string
	want, err := BuildFiles(t.Context(), plan, f, Options{ExcludeCurrent: exclude, Rejected: refused(&wantRefused)})
	if err != nil {
		t.Fatal(err)
	}
	wantText := readFile(t, f.Out)
	if err := os.Remove(f.Out); err != nil {
		t.Fatal(err)
	}
	p, err := NewPieces(t.Context(), plan, f, exclude)
	if err != nil {
		t.Fatal(err)
	}
	p.SectionBytes, p.PageProbes = 1+r.Int64N(5000), 1+r.Int64N(200)
	got := runPieces(t, plan, p, r, refused(&gotRefused))
	if text := readFile(t, f.Out); text != wantText {
		t.Errorf("%s from %s: in pieces\n%.1000s\nwant\n%.1000s", f.Out, f.Events, text, wantText)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	slices.Sort(gotRefused)
	slices.Sort(wantRefused)
	if !slices.Equal(gotRefused, wantRefused) {
		t.Errorf("refused\n%s\nwant\n%s", strings.Join(gotRefused, "\n"), strings.Join(wantRefused, "\n"))
	}
	left, err := filepath.Glob(f.Out + ".*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// worldFiles are a world's events with lines that are none, and probes.
func worldFiles(plan *features.Plan, w *featurestest.World, r *rand.Rand) map[string]string {
	const shift = 2_000_000_000_000_000 // generated times may lie before the year 1
	fields := append(slices.Clone(plan.Fields()), features.Field{Name: arrivalField, Kind: expr.Time})
	names := make([]features.Value, len(fields))
	for i, f := range fields {
		names[i] = expr.StringValue(f.Name)
	}
	lines, table := []byte("\ufeff"), append(codec.AppendCSV(nil, fields, names), '\n')
	for i, e := range w.Events {
		values := append(slices.Clone(e.Values), expr.TimeValue(e.Arrival+shift))
		values[featurestest.Time] = expr.TimeValue(e.Time + shift)
		if i%40 == 7 { // a line break in a cell
			values[featurestest.S] = expr.StringValue("two\nlines, \"quoted\"")
		}
		lines = append(codec.AppendJSON(lines, fields, values), '\n')
		table = append(codec.AppendCSV(table, fields, values), '\n')
		switch i % 50 {
		case 13:
			lines, table = append(lines, "\n\ufeff{}\n{\"key\":1\n"...), append(table, "k1,no,time\n\n"...)
		case 14:
			lines = append(lines, strings.Repeat("x", 9000)+"\n"...)
		}
	}
	lines = append(lines, "no line break at the end"...)
	csv, objects := "as_of,label,key,known_by\n", ""
	for i, p := range randomProbes(w, r, 700) {
		at := time.UnixMicro(p.AsOf + shift).UTC().Format(time.RFC3339Nano)
		known := ""
		if p.KnownBy != features.AnyArrival && i%2 == 0 {
			known = time.UnixMicro(p.KnownBy + shift).UTC().Format(time.RFC3339Nano)
		}
		key := p.Entity
		csv += fmt.Sprintf("%s,\"l %d\",%s,%s\n", at, i, key, known)
		quoted := "null"
		if known != "" {
			quoted = `"` + known + `"`
		}
		objects += fmt.Sprintf(`{"key":%q,"as_of":%q,"known_by":%s,"label":[%d]}`+"\n", key, at, quoted, i)
	}
	return map[string]string{"events.jsonl": string(lines), "events.csv": string(table), "probes.csv": csv, "probes.jsonl": objects}
}

// TestPiecesMissTheirBlocks has a runner that loses and doubles blocks.
func TestPiecesMissTheirBlocks(t *testing.T) {
	dir := save(t, map[string]string{"orders.jsonl": ordersJSON, "probes.csv": probesCSV})
	plan := ordersPlan(t)
	p, err := NewPieces(t.Context(), plan, Files{Events: filepath.Join(dir, "orders.jsonl"), Probes: filepath.Join(dir, "probes.csv"), Out: filepath.Join(dir, "set.csv")}, false)
	if err != nil {
		t.Fatal(err)
	}
	page := newGrouping(rand.New(rand.NewPCG(1, 1)))
	for i := range uint64(4) {
		if err := page.add(0, appendText([]byte{byte(i)}, "line\n")); err != nil {
			t.Fatal(err)
		}
	}
	blocks := page.blocks[0]
	fails := func(what, want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	fails("a block less", "page 0 of "+p.Files.Out+" has 3 lines, want 4", p.WritePage(0, blocks[1:]))
	fails("one twice", "has 5 lines, want 4", p.WritePage(0, append(slices.Clone(blocks), blocks[0])))
	fails("another twice", errCut.Error(), p.WritePage(0, append(slices.Clone(blocks[1:]), blocks[1])))
	fails("cut", errCut.Error(), p.WritePage(0, [][]byte{blocks[0][:3]}))
	fails("no page", "no such file", p.Finish(t.Context(), plan))
	_, err = p.Answer(t.Context(), plan, 0, [][]byte{{0, 0, 0, 0, 0, 0, 0, 1, 1, 2}}, nil, nil, nil)
	fails("an event that is cut", errCut.Error(), err)
	if _, err := os.Stat(p.Files.Out); err == nil {
		t.Error("there is a dataset")
	}
}
