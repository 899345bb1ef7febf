#include "training/comparison_plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>
#include <vector>

namespace diffllama {
namespace {

constexpr std::array kColours = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                 "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"};
constexpr double kWidth = 420;
constexpr double kHeight = 300;

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.4g", value);
  return text.data();
}

std::string colour(std::size_t member) { return kColours.at(member % kColours.size()); }

double width_of(const Interval& interval) {
  return std::isnan(interval.half_width) ? 0 : interval.half_width;
}

// A panel of curves, which share a range.
class Panel {
 public:
  Panel(double left, const ComparisonResult& result,
        std::vector<Interval> ComparedMemberResult::*curve)
      : left_(left), result_(result), curve_(curve) {
    for (const ComparedMemberResult& member : result.members) {
      most_tokens_ = std::max(most_tokens_, static_cast<double>(member.tokens.back()));
      for (const Interval& point : member.*curve) {
        least_ = std::min(least_, point.mean - width_of(point));
        most_ = std::max(most_, point.mean + width_of(point));
      }
    }
    if (!(most_ > least_)) most_ = least_ + 1;
  }

  void draw(const std::string& title, std::ostream& svg) const {
    write_text(svg, left_, 24, "start", title);
    for (std::size_t i = 0; i < result_.members.size(); ++i) {
      draw_band(i, svg);
      draw_line(i, svg);
    }
    svg << "<path d=\"";
    go(svg, 'M', 0, most_);
    svg << 'V' << number(40 + kHeight) << 'H' << number(left_ + kWidth)
        << "\" fill=\"none\" stroke=\"#444\"/>\n";
    for (const double value : {least_, (least_ + most_) / 2, most_}) {
      write_text(svg, left_ - 6, y(value) + 4, "end", number(value));
    }
    for (const double share : {0.0, 0.5, 1.0}) {
      write_text(svg, left_ + share * kWidth, 40 + kHeight + 18, "middle",
                 number(share * most_tokens_));
    }
    write_text(svg, left_ + kWidth / 2, 40 + kHeight + 36, "middle", "tokens");
  }

  static void write_text(std::ostream& svg, double x, double y, const char* anchor,
                         const std::string& words) {
    svg << "<text x=\"" << number(x) << "\" y=\"" << number(y) << "\" text-anchor=\"" << anchor
        << "\">" << words << "</text>\n";
  }

 private:
  double y(double value) const { return 40 + (most_ - value) / (most_ - least_) * kHeight; }
  void go(std::ostream& svg, char command, double tokens, double value) const {
    svg << command << number(left_ + tokens / most_tokens_ * kWidth) << ' ' << number(y(value));
  }

  void draw_line(std::size_t i, std::ostream& svg) const {
    const ComparedMemberResult& member = result_.members[i];
    svg << "<path d=\"";
    for (std::size_t point = 0; point < member.tokens.size(); ++point) {
      go(svg, point == 0 ? 'M' : 'L', static_cast<double>(member.tokens[point]),
         (member.*curve_)[point].mean);
    }
    svg << R"(" fill="none" stroke=")" << colour(i) << "\" stroke-width=\"1.5\"/>\n";
  }

  void draw_band(std::size_t i, std::ostream& svg) const {
    const ComparedMemberResult& member = result_.members[i];
    char command = 'M';
    const auto add = [&](std::size_t point, double sign) {
      const Interval& interval = (member.*curve_)[point];
      go(svg, command, static_cast<double>(member.tokens[point]),
         interval.mean + sign * width_of(interval));
      command = 'L';
    };
    svg << "<path d=\"";
    for (std::size_t point = 0; point < member.tokens.size(); ++point) add(point, 1);
    for (std::size_t point = member.tokens.size(); point-- > 0;) add(point, -1);
    svg << "Z\" fill=\"" << colour(i) << "\" fill-opacity=\"0.15\"/>\n";
  }

  double left_;
  const ComparisonResult& result_;
  std::vector<Interval> ComparedMemberResult::*curve_;
  double least_ = std::numeric_limits<double>::infinity();
  double most_ = -std::numeric_limits<double>::infinity();
  double most_tokens_ = 1;
};

}  // namespace

std::string to_svg(const ComparisonResult& result) {
  std::ostringstream svg;
  svg << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1010\" height=\"440\" "
         "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"1010\" height=\"440\" "
         "fill=\"#fff\"/>\n";
  const std::string& first = result.members[0].name;
  Panel(60, result, &ComparedMemberResult::curve).draw("training loss", svg);
  Panel(570, result, &ComparedMemberResult::difference_curve)
      .draw(std::string("difference to ")
                .append(first)
                .append(result.members[0].seeds.size() == 1 ? ", same seed"
                                                            : ", same seeds, 95 % interval"),
            svg);
  double x = 60;
  for (std::size_t i = 0; i < result.members.size(); ++i) {
    const std::string& name = result.members[i].name;
    svg << "<rect x=\"" << number(x) << R"(" y="408" width="12" height="12" fill=")" << colour(i)
        << "\"/>\n";
    Panel::write_text(svg, x + 17, 419, "start", name);
    x += 40 + 7.5 * static_cast<double>(name.size());
  }
  svg << "</svg>\n";
  return svg.str();
}

}  // namespace diffllama
