#include "base/progress.h"

#include <pty.h>
#include <sys/ioctl.h>

#include <thread>

#include "base/text.h"
#include "support/errors.h"

namespace incontext::base {
namespace {

using namespace std::chrono_literals;

// A clock that tests move by hand.
struct Clock {
  Progress::TimePoint now{};
  std::function<Progress::TimePoint()> reader() {
    return [this] { return now; };
  }
};

class ProgressTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
  }

  // What `work` writes to a pipe, or to a terminal of `columns`.
  template <class Work>
  static std::string output(int columns, const Work& work) {
    int ends[2];
    if (columns > 0) {
      struct winsize size {};
      size.ws_col = static_cast<unsigned short>(columns);
      size.ws_row = 24;
      EXPECT_EQ(::openpty(&ends[0], &ends[1], nullptr, nullptr, &size), 0);
    } else {
      EXPECT_EQ(::pipe(ends), 0);
    }
    std::string text;
    std::thread reader([&] {
      char buffer[4096];
      for (ssize_t count = 0; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
        text.append(buffer, static_cast<size_t>(count));
      }
    });
    std::FILE* stream = ::fdopen(ends[1], "w");
    work(stream);
    std::fclose(stream);
    reader.join();
    ::close(ends[0]);
    return text;
  }

  Clock clock_;
};

bool has_control_characters(const std::string& text) {
  for (const std::string& line : split(text, '\n')) {
    if (line != printable(line)) return true;
  }
  return false;
}

TEST_F(ProgressTest, APipeGetsPlainLinesTenSecondsApartAndALastOne) {
  const std::string text = output(0, [&](std::FILE* stream) {
    Progress progress("train", 100, "steps", stream, clock_.reader());
    for (int step = 1; step <= 25; ++step) {
      clock_.now += 1s;
      progress.update(step, "loss\r 0.5\x1b[1m");
    }
  });
  EXPECT_FALSE(has_control_characters(text)) << text;
  EXPECT_EQ(split(text, '\n'),
            (std::vector<std::string>{"train   10 %  10/100 steps  1 steps/s  1 min 30 s left  loss  0.5 [1m",
                                      "train   20 %  20/100 steps  1 steps/s  1 min 20 s left  loss  0.5 [1m",
                                      "train   25 %  25/100 steps  1 steps/s  in 25 s  loss  0.5 [1m", ""}));
}

TEST_F(ProgressTest, ADumbTerminalIsLikeAPipe) {
  ::setenv("TERM", "dumb", 1);
  const std::string text = output(80, [&](std::FILE* stream) {
    Progress progress("train", 4, "steps", stream, clock_.reader());
    for (int step = 1; step <= 4; ++step) progress.update(step);
  });
  EXPECT_EQ(text, "train  100 %  4/4 steps  in 0 s\r\n") << "the carriage return is the terminal's own";
}

TEST_F(ProgressTest, ATerminalIsRedrawnAFewTimesASecond) {
  const std::string text = output(80, [&](std::FILE* stream) {
    Progress progress("train", 100, "steps", stream, clock_.reader());
    for (int step = 1; step <= 100; ++step) {
      clock_.now += 10ms;
      progress.update(step);
    }
  });
  const auto redraws = static_cast<int>(split(text, '\r').size()) - 2;  // before the first, and the last line's end
  EXPECT_GE(redraws, 4);
  EXPECT_LE(redraws, 8);
  EXPECT_CONTAINS(text, "\r\x1b[K");
  EXPECT_CONTAINS(text, "\x1b[1mtrain\x1b[0m  100 %  100/100 steps  100 steps/s  in 1 s");
  EXPECT_EQ(text.substr(text.size() - 2), "\r\n") << "the line is ended";
}

TEST_F(ProgressTest, NoColorIsObeyed) {
  ::setenv("NO_COLOR", "1", 1);
  const std::string text =
      output(80, [&](std::FILE* stream) { Progress("train", 2, "steps", stream, clock_.reader()).update(1); });
  EXPECT_EQ(text.find("\x1b[1m"), std::string::npos);
  EXPECT_CONTAINS(text, "\r\x1b[Ktrain   50 %");
}

TEST_F(ProgressTest, LinesStayWithinTheTerminal) {
  ::setenv("NO_COLOR", "1", 1);
  const std::string text = output(30, [&](std::FILE* stream) {
    Progress progress("train", 100, "steps", stream, clock_.reader());
    clock_.now += 1s;
    progress.update(1, std::string(200, 'x'));
  });
  for (std::string line : split(text, '\r')) {
    if (line.starts_with("\x1b[K")) line = line.substr(3);
    EXPECT_LE(display_width(trim(line)), 29U) << line;
  }
  EXPECT_CONTAINS(text, "…");
}

TEST_F(ProgressTest, ResumedWorkCountsOnlyWhatIsNew) {
  const std::string text = output(0, [&](std::FILE* stream) {
    Progress progress("train", 1000, "steps", stream, clock_.reader());
    clock_.now += 100s;  // loading
    progress.start_from(900);
    clock_.now += 10s;
    progress.update(920);
    progress.finish();
    progress.finish();
  });
  EXPECT_EQ(text,
            "train   92 %  920/1000 steps  2 steps/s  40 s left\n"
            "train   92 %  920/1000 steps  2 steps/s  in 10 s\n");
}

TEST_F(ProgressTest, AnUnknownTotalHasNoPercentage) {
  const std::string text = output(0, [&](std::FILE* stream) {
    Progress progress("read", 0, "lines", stream, clock_.reader());
    clock_.now += 2s;
    progress.update(5);
  });
  EXPECT_EQ(text, "read  5 lines  2.5 lines/s  in 2 s\n");
}

TEST_F(ProgressTest, WithoutAUnitItTellsThePartThatIsDone) {
  const std::string text = output(0, [&](std::FILE* stream) {
    Progress progress("demo", 1000, "", stream, clock_.reader());
    clock_.now += 10s;
    progress.update(250, "nearest neighbours");
    clock_.now += 30s;
    progress.update(1000);
  });
  EXPECT_EQ(text, "demo   25 %  30 s left  nearest neighbours\ndemo  100 %\ndemo  100 %  in 40 s\n");
}

TEST_F(ProgressTest, NotesStandAboveTheLine) {
  ::setenv("NO_COLOR", "1", 1);
  const std::string terminal = output(80, [&](std::FILE* stream) {
    Progress progress("train", 2, "steps", stream, clock_.reader());
    progress.update(1);
    progress.note("saved");
  });
  EXPECT_CONTAINS(terminal, "\r\x1b[Ksaved\r\n\r\x1b[Ktrain");
  const std::string pipe = output(0, [&](std::FILE* stream) {
    Progress progress("train", 2, "steps", stream, clock_.reader());
    progress.note("sa\x1bved");
  });
  EXPECT_EQ(pipe, "sa ved\n") << "nothing was updated, so there is no last line";
}

}  // namespace
}  // namespace incontext::base
