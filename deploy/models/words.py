"""Word lists of the corpus, and the rule that keeps part of each list for evaluation only."""
import hashlib

NAMES = """Mia Tom Ana Ben Leo Zoe Sam Eva Max Ida Noah Emma Liam Olivia Lucas Sofia Ethan Ava Mason Lily Jack Ella Ryan
Grace Adam Ruby Oscar Nora Felix Clara Hugo Alice Simon Lucy Peter Hannah David Julia Martin Laura Daniel Sara Paul
Amy Mark Kate John Mary Anna Carl Lena Otto Greta Karl Marta Ivan Olga Nina Pavel Yuki Kenji Aiko Hana Ravi Priya
Arjun Meera Omar Layla Amir Fatima Hassan Zara Chen Wei Ling Mei Jin Diego Carmen Pablo Rosa Mateo Elena Bruno Giulia
Marco Chiara Pierre Camille Louis Amelie Jonas Freya Erik Ingrid Lars Astrid Finn Maeve Owen Rhys Cora Dora Edith Fred
George Harry Iris Jane Kevin Linda Mona Nick Pam Quinn Rita Steve Tina Uma Victor Wendy Xavier Yvonne Zack Abby Betty
Cindy Derek Elsa Frank Gina Henry Isaac Jenny Kyle Logan Molly Nathan Penny Robin Sally Tyler Violet Walter""".split()

PLACES = """Paris London Berlin Rome Madrid Lisbon Vienna Prague Warsaw Athens Dublin Oslo Helsinki Stockholm Copenhagen
Brussels Amsterdam Zurich Geneva Milan Naples Venice Turin Munich Hamburg Cologne Lyon Nice Porto Seville Boston
Chicago Denver Dallas Seattle Miami Austin Portland Toronto Montreal Vancouver Ottawa Lima Quito Bogota Havana Cairo
Tunis Lagos Nairobi Accra Dakar Delhi Mumbai Tokyo Osaka Kyoto Seoul Beijing Hanoi Manila Jakarta Sydney Perth
Auckland Dubai Doha Istanbul Ankara Moscow Kiev Riga Tallinn Vilnius Sofia Bucharest Budapest Zagreb Split Krakow
Ghent Bruges Leeds York Bath Oxford Cambridge Bristol Cardiff Glasgow Dover""".split()

COUNTED = """apple pear plum orange lemon banana grape cookie candy cupcake muffin carrot tomato potato egg pencil crayon
marker eraser book notebook sticker stamp marble button coin bead block card toy doll kite ball balloon car truck
train boat plane robot puzzle shell stone rock leaf flower rose tulip seed nut acorn fish duck hen goat sheep cow
horse rabbit frog bird chicken kitten puppy turtle bee ant butterfly hat sock shirt shoe cup plate spoon fork bottle
box bag basket chair table lamp key ring star ticket""".split()

CONTAINERS = "bag box basket jar shelf table plate tray drawer bowl crate pack bucket row vase".split()

OBJECTS = """key ball lamp book phone watch wallet map letter camera guitar drum violin bike helmet umbrella scarf glove
ticket passport ring necklace laptop radio clock mirror blanket pillow ladder hammer rope bucket shovel kettle pan
teapot candle vase painting statue coin chest sword shield crown puzzle kite""".split()

SPOTS = """kitchen garden garage attic cellar bedroom bathroom library office hall shed barn car drawer cupboard closet
basement classroom gym tent castle tower boat train station hotel museum bakery market park forest cave""".split()

COLORS = "red blue green yellow purple orange pink brown black white gray silver gold turquoise".split()

ANIMALS = """dog cat rabbit hamster parrot turtle horse pony goldfish snake lizard mouse duck goat sheep pig hen owl fox
monkey frog""".split()

JOBS = """teacher doctor nurse baker farmer pilot driver painter singer dancer writer lawyer judge cook waiter plumber
carpenter gardener engineer scientist librarian firefighter sailor dentist tailor butcher barber mechanic
photographer""".split()

FOODS = """pizza soup pasta rice salad bread cheese cake pie sushi tacos pancakes waffles noodles curry stew beans
honey jam porridge chocolate yogurt dumplings olives mushrooms spinach cherries mangoes""".split()

SPORTS = """football tennis chess swimming running skating hockey basketball volleyball golf rowing fencing judo
climbing sailing cycling skiing boxing archery badminton""".split()

MONTHS = "January February March April May June July August September October November December".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()

COMMON = """sun moon star sky cloud rain snow wind storm river lake sea ocean beach island hill mountain valley field road
street bridge house door window wall roof floor room tree bush grass branch root fruit bread milk water juice tea sugar
salt butter music song story picture paper glass wood metal silver cotton silk summer winter spring autumn morning
evening night circle square triangle line number letter word name friend family mother father brother sister teacher
school city village country king queen prince giant dragon wizard pirate rocket planet engine wheel magnet ladder
hammer needle button pocket ribbon feather wing tail paw nose ear finger shoulder smile laugh dream game prize secret
treasure puzzle riddle happy quiet brave clever gentle bright dark warm cold quick slow small large tiny round soft
hard sweet sour fresh old new young strong kind proud funny lucky magic hidden golden wild""".split()

_VOWELS = "a e i o u ai ea ee ia io oo ou".split()
_STARTS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sh sk sl sm sn sp st t th tr v w y z".split()
_ENDS = "b ck d f g k l ll m n nd ng nt p r rd rk rn s sh sk st t th v x z".split()


def kept_for_evaluation(word):
    """True for one word in ten, by its hash: such words are never drawn for training."""
    return hashlib.sha256(("word:" + word.lower()).encode()).digest()[0] % 10 == 0


def made_up(rng, syllables=None):
    """A word that no list holds, such as 'Brisol' in lower case: copying must not depend on knowing the word."""
    parts = []
    for _ in range(syllables or rng.choice((1, 2, 2, 3))):
        parts.append(rng.choice(_STARTS) + rng.choice(_VOWELS) + (rng.choice(_ENDS) if rng.random() < 0.5 else ""))
    return "".join(parts)


class WordSource:
    """Draws from the lists: the training share of them, or only the share kept for evaluation."""

    def __init__(self, evaluation=False):
        self._evaluation = evaluation
        self._shares = {}

    def _from(self, rng, words):
        key = id(words)
        if key not in self._shares:
            share = [word for word in words if kept_for_evaluation(word) == self._evaluation]
            self._shares[key] = share or words
        return rng.choice(self._shares[key])

    def pick(self, rng, words):
        """One of a short list. In training any other word may stand in its place: what a passage says must be
        copied from it, and a model that has only seen ten colors recalls one of them instead."""
        if not self._evaluation and rng.random() < 0.3:
            return self.word(rng)
        return self._from(rng, words)

    def invented(self, rng, syllables=None):
        while True:
            word = made_up(rng, syllables)
            if kept_for_evaluation(word) == self._evaluation:
                return word

    def name(self, rng):
        return self._from(rng, NAMES) if rng.random() < 0.7 else self.invented(rng).capitalize()

    def names(self, rng, count):
        found = []
        while len(found) < count:
            name = self.name(rng)
            if name not in found:
                found.append(name)
        return found

    def place(self, rng):
        return self._from(rng, PLACES) if rng.random() < 0.7 else self.invented(rng).capitalize()

    def word(self, rng):
        return self._from(rng, COMMON) if rng.random() < 0.6 else self.invented(rng)


def plural(noun):
    if noun in ("fish", "sheep"):
        return noun
    if noun == "leaf":
        return "leaves"
    if noun.endswith(("s", "x", "ch", "sh", "tomato", "potato")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def count_of(number, noun):
    return f"{number} {noun if number == 1 else plural(noun)}"
