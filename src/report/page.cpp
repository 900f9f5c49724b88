#include "report/page.h"

#include "base/error.h"

namespace incontext::report {
namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --page: #ffffff; --text: #1b1f24; --soft: #5c6570; --line: #d5dae0; --panel: #f5f7f9; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --text: #e6e9ec; --soft: #a0a9b3; --line: #3a424b; --panel: #1d2227; }
}
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--line); }
p { max-width: 46rem; margin: .5rem 0; }
.lead, figcaption, caption, summary { color: var(--soft); }
figure { margin: 1.25rem 0; }
figcaption { font-size: .95rem; margin-bottom: .25rem; }
svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
svg .gridline { stroke: var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; padding-bottom: .35rem; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom-width: 2px; }
.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
.remark { display: block; font-size: .8rem; line-height: 1.2; color: var(--soft); }
details { margin: .5rem 0; }
summary { cursor: pointer; font-size: .92rem; }
details[open] { background: var(--panel); padding: .5rem .9rem; border-radius: 6px; }
)";

std::string render_table(const Table& table, bool with_title) {
  std::string out = "<div class=\"wide\"><table>\n";
  if (with_title && !table.title.empty()) out += "<caption>" + escape_html(table.title) + "</caption>\n";
  const auto row_of = [&](const std::vector<std::string>& cells, const char* tag) {
    out += "<tr>";
    for (size_t column = 0; column < cells.size(); ++column) {
      const bool number = table.align_of(column) == Align::right;
      std::string text = escape_html(cells[column]);
      if (std::string remark; number && without_remark(cells[column], &remark) != cells[column]) {
        text = fmt::format("{}<span class=\"remark\"> ({})</span>", escape_html(without_remark(cells[column])),
                           escape_html(remark));
      }
      out += fmt::format("<{}{}>{}</{}>", tag, number ? " class=\"number\"" : "", text, tag);
    }
    out += "</tr>\n";
  };
  out += "<thead>";
  row_of(table.columns, "th");
  out += "</thead>\n<tbody>\n";
  for (const auto& row : table.rows) row_of(row, "td");
  return out + "</tbody></table></div>\n";
}

std::string render_folded(const std::string& title, const Table& table) {
  return fmt::format("<details><summary>{}</summary>\n{}</details>\n", escape_html(title), render_table(table, false));
}

std::string render_plot(const Plot& plot, const std::string& id_prefix) {
  if (!drawable(plot)) {
    return fmt::format("<p>{}: there is no finite point to draw.</p>\n", escape_html(plot.title)) +
           render_folded("Data", data_table(plot));
  }
  return fmt::format("<figure>\n<figcaption>{}</figcaption>\n{}\n</figure>\n{}", escape_html(plot.title),
                     render_svg(plot, id_prefix), render_folded("Data behind this plot", data_table(plot)));
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

Table data_table(const Plot& plot) {
  Table table;
  table.columns = {"curve", plot.x.label, plot.y.label, "low", "high", "records"};
  table.alignment = {Align::left, Align::right, Align::right, Align::right, Align::right, Align::right};
  for (const PlotCurve& item : plot.curves) {
    for (const Point& point : item.curve.points) {
      table.rows.push_back({item.curve.name, fmt::format("{:.6g}", point.x), fmt::format("{:.5g}", point.y),
                            fmt::format("{:.5g}", point.low), fmt::format("{:.5g}", point.high),
                            fmt::format("{}", point.count)});
    }
  }
  return table;
}

std::string render_page(const Page& page) {
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>{}</style>\n"
      "</head>\n<body>\n<main>\n<h1>{}</h1>\n<p class=\"lead\">{}</p>\n",
      escape_html(page.title), kStyle, escape_html(page.title), escape_html(page.lead));
  int plots = 0;
  for (const Section& section : page.sections) {
    out += fmt::format("<section>\n<h2>{}</h2>\n", escape_html(section.heading));
    for (const std::string& paragraph : section.paragraphs) out += "<p>" + escape_html(paragraph) + "</p>\n";
    for (const Plot& plot : section.plots) out += render_plot(plot, fmt::format("plot{}-", ++plots));
    for (const Table& table : section.tables) out += render_table(table, true);
    for (const Table& table : section.folded_tables) out += render_folded(table.title, table);
    out += "</section>\n";
  }
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace incontext::report
