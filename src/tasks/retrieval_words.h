#pragma once

#include <array>

// What retrieval prompts are made of.

namespace incontext::tasks {

inline constexpr std::array kAdjectives = {
    "amber",    "ancient", "brave",   "bright", "broken", "calm",   "clever", "copper", "crimson", "curious",
    "distant",  "dusty",   "early",   "eager",  "frozen", "gentle", "golden", "green",  "hidden",  "hollow",
    "humble",   "ivory",   "jolly",   "kind",   "little", "lonely", "loud",   "marble", "modest",  "narrow",
    "northern", "old",     "patient", "plain",  "proud",  "quiet",  "rapid",  "rusty",  "silent",  "silver",
    "slender",  "solid",   "steady",  "sunny",  "tall",   "velvet", "warm",   "wooden"};

inline constexpr std::array kNouns = {
    "anchor",  "barrel",  "basket",  "beacon", "bridge", "button",  "candle",  "castle", "cellar", "cherry",
    "cloud",   "compass", "cottage", "desert", "engine", "falcon",  "feather", "forest", "garden", "hammer",
    "harbor",  "island",  "jacket",  "kettle", "ladder", "lantern", "maple",   "meadow", "mirror", "needle",
    "orchard", "pebble",  "pillow",  "planet", "pocket", "quarry",  "ribbon",  "river",  "saddle", "shelter",
    "signal",  "spider",  "temple",  "ticket", "tunnel", "valley",  "violin",  "window"};

inline constexpr std::array kNoise = {"The baker opened the shop before the sun was up.",
                                      "Two boats were tied to the pier and moved with the water.",
                                      "A letter lay on the table, and nobody had read it yet.",
                                      "The road went around the hill and came back to the mill.",
                                      "It had rained all night, and the fields were wet.",
                                      "Someone in the house across the street was playing the piano.",
                                      "The market was full, and people talked about the weather.",
                                      "A dog slept in the shade under the old cart.",
                                      "The train was late again, so we waited in the hall.",
                                      "She put the cups back on the shelf, one after the other.",
                                      "The children had built a wall of snow near the school.",
                                      "There was a smell of bread and smoke in the air.",
                                      "He mended the fence on Monday and painted it on Tuesday.",
                                      "The teacher wrote the names of the rivers on the board.",
                                      "A cool wind came from the lake in the evening.",
                                      "The clock in the tower had stopped many years ago.",
                                      "They carried the chairs into the yard and sat down.",
                                      "The apples were ripe, and the branches hung low.",
                                      "A tall man asked for the way to the station.",
                                      "The shop at the corner sells rope, nails and paint.",
                                      "We walked along the canal until it became dark.",
                                      "The soup was hot, and there was enough for everyone.",
                                      "An old map of the county hung beside the door.",
                                      "The cat sat on the sill and watched the birds.",
                                      "Nothing much happened on that afternoon in the village.",
                                      "The lamp was lit, and they went on reading.",
                                      "In spring the path through the woods is full of flowers.",
                                      "The carpenter measured the board twice and cut it once.",
                                      "A cart with hay went slowly over the bridge.",
                                      "The windows were open, and one could hear the sea.",
                                      "Her brother had learned to swim in that pond.",
                                      "The meeting was short, and everybody went home early."};

}  // namespace incontext::tasks
